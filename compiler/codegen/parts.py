"""A program of several functions, for a plan with parts (ADR 0016).

The program itself holds the registers and calls, one after the other: decoder, parts, epilogue. Each is
global, so the verifier checks it alone, once, and knows nothing of its arguments: the hook's context, the
registers, and for a part the node to begin with. A part answers with the node to go on with, in a later part,
or DECIDED when a leaf has been met; what was decided then lies in the registers.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.emit import generation
from lockgate.stdlib_bpf.emit.llvm import NULL, Label, Value, const
from lockgate.stdlib_bpf.emit.registers import NEXT, Registers

from ..plan.ir import Leaf, successors
from ..plan.parts import Part, parts
from .common import Common
from .program import Program

DECIDED, JUDGE = 0, 1  # answers; node 0, where every walk begins, is none


def functions(of: Common, name: str, point: hooks.AttachPoint, previous: str) -> str:
    """The program `name` for one place, and what it calls. `previous`: the map with its predecessor. Programs
    of one variant share their parts, which come with the first of them."""
    f = of.begin(name, [of.context_argument()], point.section)
    r = Registers(f, of.registers)
    main = Program(of, f, point.variant, r, {})
    generation.emit(f, main.ctx, previous)

    def call(what: str) -> Value:
        return f.call(f"{name}_{what}", "i32", main.ctx, r.room)

    def called(what: str, *more: str) -> Program:
        return _called(of, f"{name}_{what}", point, r.size, more)

    texts = [_decoder(called("decode"))]
    judge = f.label("judge")
    f.branch(f.compare("eq", call("decode"), DECIDED), main.finish, judge)
    f.place(judge)
    r.set(NEXT, const("i32", 0))
    owner = of.parts_of.setdefault(point.variant, name)
    for number, part in enumerate(parts(of.plan)):
        if owner == name:
            texts.append(_part(called(f"part{number}", "start"), part))
        here, behind = f.label("part"), f.label("behind_part")
        f.branch(f.compare("ult", r.get(NEXT), part.end), here, behind, likely=True)
        f.place(here)
        answer = f.call(f"{owner}_part{number}", "i32", main.ctx, r.room, r.get(NEXT))
        r.set(NEXT, answer)
        f.branch(f.compare("eq", answer, DECIDED), main.finish, behind)
        f.place(behind)
    f.jump(main.finish)
    f.place(main.finish)
    texts.append(_epilogue(called("finish")))
    f.ret(main.returnable(call("finish")))
    return "".join([f.text(), *texts])


def _called(of: Common, name: str, point: hooks.AttachPoint, room: int, more: tuple[str, ...]) -> Program:
    """A function under construction. `room`: bytes of the registers; `more`: names of further i32."""
    debug = of.debug
    bytes_ = debug.array(debug.integer(8), 8, room)
    registers = debug.pointer(debug.struct("registers", room, [("bytes", bytes_, room, 0)]))
    numbers = [("i32", argument, debug.integer(32)) for argument in more]
    f = of.begin(name, [of.context_argument(), ("ptr", "registers", registers), *numbers], None)
    given = Value("ptr", "%registers")
    never, there = f.label("never"), f.label("there")
    f.branch(f.compare("ne", given, NULL), there, never, likely=True)
    f.place(never)
    f.ret(const("i32", DECIDED))
    f.place(there)
    program = Program(of, f, point.variant, Registers(f, of.registers, given), {})
    of.around.enter(program, point.name, DECIDED)
    return program


def _decoder(here: Program) -> str:
    f, judge = here.f, here.f.label("judge")
    here.decode(judge)
    f.place(judge)
    f.ret(const("i32", JUDGE))
    f.place(here.finish)
    f.ret(const("i32", DECIDED))
    return f.text()


def _part(here: Program, part: Part) -> str:
    f, nodes, inside = here.f, here.plan.nodes, range(part.first, part.end)
    targets = sorted({to for at in inside for to in successors(nodes[at])} - {*inside})
    labels = {at: Label(f"n{at}") for at in (*inside, *targets)}
    first, *others = part.entries
    f.switch(Value("i32", "%start"), labels[first], [(at, labels[at]) for at in others])
    for at in inside:
        here.emit_node(at, labels)
    for to in targets:
        if isinstance(nodes[to], Leaf):
            here.emit_node(to, labels)
        else:
            f.place(labels[to])
            f.ret(const("i32", to))
    f.place(here.finish)
    f.ret(const("i32", DECIDED))
    return f.text()


def _epilogue(here: Program) -> str:
    here.f.jump(here.finish)
    here.epilogue()
    return here.f.text()
