"""Find every regular expression of the program, and make texts that are hard for each.

Patterns are found by AST, so that none is forgotten: the arguments of each call of `re` are computed in
the module's own names. Hard texts are made of a pattern's own parts: what leads up to a repeat, the
repeat many times over, and a near miss.
"""

import ast
import importlib
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

PACKAGES = ("bot", "engine", "training")
CALLS = ("compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn")
ANCHORED = {"match", "fullmatch"}  # these begin at one place

POOL = "a1 Z-_.:,;/@#\"'(<\n\t\u0430\u2019"
TAILS = ("", "\0", "\n!", " x" * 10)  # what a near miss ends with

Names = dict[str, Any]
# Patterns that a function makes of what it is given: the function, and what it makes.
MADE: dict[tuple[str, str], Callable[[Names], list[re.Pattern[str]]]] = {
    ("bot.discord_client.identity", "spoken"): lambda _: [re.compile("<@!?123>")],
    ("bot.study.blinding", "_pattern"): lambda names: [names["_pattern"](("H. P. Lovecraft", "Agatha"))],
    ("bot.telegram_client.updates", "addressed"): lambda _: [re.compile(r"@Bot\b", re.I)],
    ("engine.weights.adapter_config", "_compiles"): lambda _: [],  # an adapter's own, on names of layers
    ("engine.weights.adapter_config", "_named"): lambda _: [],
    ("engine.weights.adapter_config", "_by_pattern"): lambda _: [],
    ("engine.study.design.experiment_file", "_line"): lambda _: [
        re.compile(r"\s*\[+step\.ask\]"), re.compile(r"\s*kind\s*=")
    ],
    ("engine.plan.picture", "caption"): lambda _: [re.compile(r"(?<!\w)TOK(?!\w)", re.I)],
    ("engine.ledger.errors", "explain"): lambda names: [re.compile(p) for p, _ in names["REFUSALS"]],
    ("engine.moderation.rules", "_near"): lambda names: [
        names["_WIDE"], *(rule for _, rule in names["_RULES"])
    ],
    ("engine.plan.router", "_pattern"): lambda names: [names["_pattern"]("H. P. Lovecraft")],
    ("engine.plan.router", "_vocabulary"): lambda names: [
        names["_vocabulary"]((("a", ("h. p. lovecraft", "cthulhu")), ("b", ("old one",))))[0]
    ],
    ("engine.study.experiments.experiment", "_line"): lambda _: [],  # an operator's own file
    ("engine.study.disclosure.scrub", ""): lambda names: [rule for _, rule in names["_COMPILED"]],
    ("training.sources.csv_tables", "articles"): lambda _: [],  # the operator's own recipe
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One pattern and where it stands; an `anchored` one is only ever tried at one place."""

    place: str
    pattern: re.Pattern[Any]
    anchored: bool = False


# Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """What a file says of patterns: its calls, what it imports, and the methods of its names."""

    name: str
    calls: list[tuple[ast.Call, str, str]]
    imports: set[tuple[str | None, str]]
    uses: dict[str, set[str]]


def _read(path: Path) -> _Module:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    text = path.read_text()
    tree = ast.parse(text)
    imports: set[tuple[str | None, str]] = set()
    uses: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imports |= {(node.module, alias.name) for alias in node.names}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            uses.setdefault(node.value.id, set()).add(node.attr)
    if "re" in (module for module, _ in imports):
        raise LookupError(f"{name}: say `import re`, so that its patterns are found")
    calls = list(_calls(tree)) if "import re" in text else []
    return _Module(name=name, calls=calls, imports=imports, uses=uses)


def found() -> Iterator[Found]:
    """Every pattern of the program. Raises LookupError for one that cannot be computed."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    modules = [_read(path) for path in paths]
    for module in modules:
        for call, function, name in module.calls:
            users = [m for m in modules if m is module or (module.name, name) in m.imports]
            uses = {use for user in users for use in user.uses.get(name, ())}
            yield from _of_call(module.name, call, function, uses)


def _of_call(module: str, call: ast.Call, function: str, uses: set[str]) -> Iterator[Found]:
    method = call.func.attr  # type: ignore[attr-defined]
    try:
        patterns = [_computed(call, {"re": re})]  # most need no module, which may import torch
    except NameError:
        patterns = _named(module, call, function)
    for pattern in patterns:
        anchored = bool(uses) and uses <= ANCHORED if method == "compile" else method in ANCHORED
        yield Found(place=f"{module}:{call.lineno}", pattern=pattern, anchored=anchored)


def _named(module: str, call: ast.Call, function: str) -> list[re.Pattern[str]]:
    """What a call makes of names of its module, or its function of what it is given."""
    names = vars(importlib.import_module(module))
    try:
        return [_computed(call, names)]
    except NameError:
        if (module, function) not in MADE:
            raise LookupError(
                f"{module}:{call.lineno}: add it to MADE in tests/patterns.py"
            ) from None
        return MADE[module, function](names)


def _computed(call: ast.Call, names: Names) -> re.Pattern[str]:
    last = {"sub": 4, "subn": 4, "split": 3}.get(call.func.attr, 2)  # type: ignore[attr-defined]
    if call.func.attr == "compile":  # type: ignore[attr-defined]
        last = 1
    flags = [k.value for k in call.keywords if k.arg == "flags"] or call.args[last : last + 1]
    parts = [
        eval(compile(ast.Expression(part), "", "eval"), names) for part in (call.args[0], *flags)
    ]
    return re.compile(*parts)


def _calls(
    tree: ast.AST, function: str = "", name: str = ""
) -> Iterator[tuple[ast.Call, str, str]]:
    """Each call of re, with the function that it stands in and the name that it is bound to."""
    for node in ast.iter_child_nodes(tree):
        inside, bound = function, name
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = node.name
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            bound = node.targets[0].id
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in CALLS
        ):
            yield node, inside, bound
        yield from _calls(node, inside, bound)


# Hard texts


Text = Callable[[int], str]  # of so many characters


def texts(pattern: re.Pattern[str], chance: random.Random) -> Iterator[Text]:
    """Texts of any length that are made to be hard for the pattern."""
    tree = parser.parse(pattern.pattern, pattern.flags)
    repeats = list(dict.fromkeys(_repeats(tree, "", chance)))
    for before, pump in repeats:
        for tail in TAILS:
            yield filled(before, pump, tail)
        for times, near in ((1, ""), (8, ""), (34, "x ")):
            yield filled("", before + pump * times + near, "")
    letters = "".join(dict.fromkeys(c for b, p in repeats for c in b + p)) or "a "
    for _ in range(6):
        yield filled("", "".join(chance.choices(letters, k=3)), "")
    for _ in range(3):
        whole = _sample(tree, chance)
        yield filled("", whole[:-1] or "a", "")
        yield filled("", whole or "a", "\0")


def filled(before: str, pump: str, tail: str) -> Text:
    """What begins so, goes on so, and ends so."""

    def text(length: int) -> str:
        room = max(0, length - len(before) - len(tail))
        return before + (pump * (room // len(pump) + 1))[:room] + tail

    return text


def _repeats(tree: Any, before: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    """What leads up to each repeat that may be long, and what it repeats."""
    for op, given in tree:
        kind = str(op)
        if kind.endswith("_REPEAT"):
            _, most, body = given
            if most >= 4:
                pumps = {_sample(body, chance) for _ in range(5)}
                yield from ((before, pump) for pump in sorted(pumps) if pump)
            yield from _repeats(body, before, chance)
        elif kind == "BRANCH":
            for branch in given[1]:
                yield from _repeats(branch, before, chance)
        elif kind in ("SUBPATTERN", "ATOMIC_GROUP", "ASSERT", "ASSERT_NOT"):
            yield from _repeats(given if kind == "ATOMIC_GROUP" else given[-1], before, chance)
        before += _sample([(op, given)], chance)


def _sample(tree: Any, chance: random.Random) -> str:
    """Some text that the tree matches, what must stand before it included."""
    text = ""
    for op, given in tree:
        match str(op):
            case "LITERAL":
                text += chr(given)
            case "NOT_LITERAL":
                text += chance.choice([c for c in POOL if ord(c) != given])
            case "ANY":
                text += chance.choice("a1 .")
            case "IN":
                text += chance.choice(_members(given))
            case "BRANCH":
                text += _sample(chance.choice(given[1]), chance)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, body = given
                times = min(most, max(least, chance.choice((0, 1, 1))))
                text += "".join(_sample(body, chance) for _ in range(times))
            case "SUBPATTERN":
                text += _sample(given[-1], chance)
            case "ATOMIC_GROUP":
                text += _sample(given, chance)
            case "ASSERT" if given[0] < 0:  # what must stand before
                text += _sample(given[1], chance)
    return text


def _members(items: Any) -> str:
    """Some characters of a class."""
    named = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}
    inside, own = "", ""
    for op, given in items:
        match str(op):
            case "LITERAL":
                inside += re.escape(chr(given))
                own += chr(given)
            case "RANGE":
                inside += f"{re.escape(chr(given[0]))}-{re.escape(chr(given[1]))}"
                own += chr(given[0]) + chr(given[1])
            case "CATEGORY":
                sign = named[str(given).rsplit("_", 1)[1]]
                inside += sign.upper() if "_NOT_" in str(given) else sign
    negated = str(items[0][0]) == "NEGATE"
    member = re.compile(f"[{'^' if negated else ''}{inside}]")
    return "".join(c for c in POOL + ("" if negated else own) if member.match(c)) or "\u2603"
