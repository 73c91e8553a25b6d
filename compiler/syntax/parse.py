from lark import Lark
from ..diagnostics import Sink
from ..source import Source
from . import grammars, build, tree
def parse(source, sink):
    return build.build(source, grammars.load("policy").parse(source.text), ())
