"""The catalogue of diagnostics: one class an error, in a file of its own, with its manual page.

An error is made where its facts are known and becomes a message in `diagnostic()`. `ALL` is sorted by code;
families: 01 syntax, 02 names and types, 03 structure, 04 delegation, 05 analysis, 06 tests, 07 code
generation, 10 import, 99 our own. The runtime has 08 and 09, whose pages are in `runtime_pages.py`.
"""

from .base import Finding
from .e0101_unknown_word import UnknownWord
from .e0102_unexpected_text import UnexpectedText
from .e0103_unfinished_text import UnfinishedText
from .e0104_bad_character import BadCharacter
from .e0105_unreadable_policy import UnreadablePolicy
from .e0106_nested_too_deeply import TooDeep
from .e0201_duplicate_name import DuplicateName
from .e0202_unknown_name import UnknownName
from .e0203_wrong_kind import WrongKind
from .e0204_host_bits import HostBits
from .e0205_bad_address import BadAddress
from .e0206_out_of_range import OutOfRange
from .e0207_mapped_address import MappedAddress
from .e0208_reserved_name import ReservedName
from .e0209_reversed_range import ReversedRange
from .e0211_ports_need_protocol import PortsNeedProtocol
from .e0212_cycle import Cycle
from .e0213_condition_mismatch import ConditionMismatch
from .e0214_bad_flags import BadFlags
from .e0215_family_mismatch import FamilyMismatch
from .e0217_unquoted_device import UnquotedDevice
from .e0218_bad_target import BadTarget
from .e0219_bad_dynamic import BadDynamic
from .e0220_bad_file_line import BadFileLine
from .e0221_unreadable_file import UnreadableFile
from .e0222_too_many_entries import TooManyEntries
from .e0223_bad_difference import BadDifference
from .e0224_no_ports import NoPorts
from .e0225_bad_date import BadDate
from .e0226_wide_condition import WideCondition
from .e0227_wrong_value import WrongValue
from .e0228_bad_relation import BadRelation
from .e0229_settled_condition import SettledCondition
from .e0240_unreadable_import import UnreadableImport
from .e0241_import_cycle import ImportCycle
from .e0243_bad_argument import BadArgument
from .e0301_no_default import NoDefault
from .e0302_repeated import Repeated
from .e0303_duplicate_rule import DuplicateRule
from .e0304_rules_need_blocks import RulesNeedBlocks
from .e0305_action_not_at_hook import ActionNotAtHook
from .e0306_misplaced_block import MisplacedBlock
from .e0307_not_at_hook import NotAtHook
from .e0308_hook_target import HookTarget
from .e0309_misplaced_attribute import MisplacedAttribute
from .e0310_shared_target import SharedTarget
from .e0311_does_not_decide import DoesNotDecide
from .e0312_disagreement import Disagreement
from .e0313_different_defaults import DifferentDefaults
from .e0314_fragments_unsaid import FragmentsUnsaid
from .e0315_no_tier import NoTier
from .e0316_bad_inventory import BadInventory
from .e0320_misplaced_option import MisplacedOption
from .e0321_needs_device import NeedsDevice
from .e0322_foreign_device import ForeignDevice
from .e0323_needs_proxy import NeedsProxy
from .e0324_proxy_to_itself import ProxyToItself
from .e0330_bad_service_address import BadServiceAddress
from .e0331_shared_service_address import SharedServiceAddress
from .e0332_no_backend import NoBackend
from .e0333_incomplete_service import IncompleteService
from .e0334_not_balanced import NotBalanced
from .e0335_repeated_backend import RepeatedBackend
from .e0390_not_yet import NotYet
from .e0401_not_delegated import NotDelegated
from .e0402_bad_settings import BadSettings
from .e0521_expired_deny import ExpiredDeny
from .e0602_assertion_fails import AssertionFails
from .e0603_not_one_packet import NotOnePacket
from .e0604_which_direction import WhichDirection
from .e0605_assertion_not_proved import AssertionNotProved
from .e0690_expectation_fails import ExpectationFails
from .e0703_over_budget import OverBudget
from .e0704_over_memory import OverMemory
from .e0705_bad_profile import BadProfile
from .e0710_not_on_target import NotOnTarget
from .e1001_not_this_format import NotThisFormat
from .e1002_not_sayable import NotSayable
from .e1003_missing_reference import MissingReference
from .e1004_bad_import_value import BadImportValue
from .e1005_circular_jump import CircularJump
from .e1006_import_too_large import ImportTooLarge
from .e1007_unknown_import_version import UnknownImportVersion
from .e9901_internal_error import InternalError
from .w0230_unused_name import UnusedName
from .w0231_empty_network import EmptyNetwork
from .w0242_unused_import import UnusedImport
from .w0312_possible_disagreement import PossibleDisagreement
from .w0501_shadowed_rule import ShadowedRule
from .w0520_expires_soon import ExpiresSoon
from .w0522_expired_allow import ExpiredAllow
from .w0523_no_date import NoDate
from .w0530_default_drops_neighbours import DefaultDropsNeighbours
from .w0531_open_failsafe import OpenFailsafe
from .w0532_selects_nobody import SelectsNobody
from .w0706_stale_profile import StaleProfile
from .w1010_not_policy import NotPolicy
from .w1011_unknown_import_field import UnknownImportField

ALL: tuple[type[Finding], ...] = (
    UnknownWord,
    UnexpectedText,
    UnfinishedText,
    BadCharacter,
    UnreadablePolicy,
    TooDeep,
    DuplicateName,
    UnknownName,
    WrongKind,
    HostBits,
    BadAddress,
    OutOfRange,
    MappedAddress,
    ReservedName,
    ReversedRange,
    PortsNeedProtocol,
    Cycle,
    ConditionMismatch,
    BadFlags,
    FamilyMismatch,
    UnquotedDevice,
    BadTarget,
    BadDynamic,
    BadFileLine,
    UnreadableFile,
    TooManyEntries,
    BadDifference,
    NoPorts,
    BadDate,
    WideCondition,
    WrongValue,
    BadRelation,
    SettledCondition,
    UnusedName,
    EmptyNetwork,
    UnreadableImport,
    ImportCycle,
    UnusedImport,
    BadArgument,
    NoDefault,
    Repeated,
    DuplicateRule,
    RulesNeedBlocks,
    ActionNotAtHook,
    MisplacedBlock,
    NotAtHook,
    HookTarget,
    MisplacedAttribute,
    SharedTarget,
    DoesNotDecide,
    Disagreement,
    PossibleDisagreement,
    DifferentDefaults,
    FragmentsUnsaid,
    NoTier,
    BadInventory,
    MisplacedOption,
    NeedsDevice,
    ForeignDevice,
    NeedsProxy,
    ProxyToItself,
    BadServiceAddress,
    SharedServiceAddress,
    NoBackend,
    IncompleteService,
    NotBalanced,
    RepeatedBackend,
    NotYet,
    NotDelegated,
    BadSettings,
    ShadowedRule,
    ExpiresSoon,
    ExpiredDeny,
    ExpiredAllow,
    NoDate,
    DefaultDropsNeighbours,
    OpenFailsafe,
    SelectsNobody,
    AssertionFails,
    NotOnePacket,
    WhichDirection,
    AssertionNotProved,
    ExpectationFails,
    OverBudget,
    OverMemory,
    BadProfile,
    StaleProfile,
    NotOnTarget,
    NotThisFormat,
    NotSayable,
    MissingReference,
    BadImportValue,
    CircularJump,
    ImportTooLarge,
    UnknownImportVersion,
    NotPolicy,
    UnknownImportField,
    InternalError,
)

__all__ = [
    "ALL",
    "ActionNotAtHook",
    "AssertionFails",
    "AssertionNotProved",
    "BadAddress",
    "BadArgument",
    "BadCharacter",
    "BadDate",
    "BadDifference",
    "BadDynamic",
    "BadFileLine",
    "BadFlags",
    "BadImportValue",
    "BadInventory",
    "BadProfile",
    "BadRelation",
    "BadServiceAddress",
    "BadSettings",
    "BadTarget",
    "CircularJump",
    "ConditionMismatch",
    "Cycle",
    "DefaultDropsNeighbours",
    "DifferentDefaults",
    "Disagreement",
    "DoesNotDecide",
    "DuplicateName",
    "DuplicateRule",
    "EmptyNetwork",
    "ExpectationFails",
    "ExpiredAllow",
    "ExpiredDeny",
    "ExpiresSoon",
    "FamilyMismatch",
    "Finding",
    "ForeignDevice",
    "FragmentsUnsaid",
    "HookTarget",
    "HostBits",
    "ImportCycle",
    "ImportTooLarge",
    "IncompleteService",
    "InternalError",
    "MappedAddress",
    "MisplacedAttribute",
    "MisplacedBlock",
    "MisplacedOption",
    "MissingReference",
    "NeedsDevice",
    "NeedsProxy",
    "NoBackend",
    "NoDate",
    "NoDefault",
    "NoPorts",
    "NoTier",
    "NotAtHook",
    "NotBalanced",
    "NotDelegated",
    "NotOnTarget",
    "NotOnePacket",
    "NotPolicy",
    "NotSayable",
    "NotThisFormat",
    "NotYet",
    "OpenFailsafe",
    "OutOfRange",
    "OverBudget",
    "OverMemory",
    "PortsNeedProtocol",
    "PossibleDisagreement",
    "ProxyToItself",
    "Repeated",
    "RepeatedBackend",
    "ReservedName",
    "ReversedRange",
    "RulesNeedBlocks",
    "SelectsNobody",
    "SettledCondition",
    "ShadowedRule",
    "SharedServiceAddress",
    "SharedTarget",
    "StaleProfile",
    "TooDeep",
    "TooManyEntries",
    "UnexpectedText",
    "UnfinishedText",
    "UnknownImportField",
    "UnknownImportVersion",
    "UnknownName",
    "UnknownWord",
    "UnquotedDevice",
    "UnreadableFile",
    "UnreadableImport",
    "UnreadablePolicy",
    "UnusedImport",
    "UnusedName",
    "WhichDirection",
    "WideCondition",
    "WrongKind",
    "WrongValue",
]
