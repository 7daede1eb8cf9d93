"""The shape of the house: files, functions, names, folders, imports, a request's way through it.

Counted over bot, engine and training as they stand, by their syntax trees. An import chain is the
longest way along imports that run when a module is loaded; a circle is a set of modules of which each
reaches every other, when loaded or with what functions and TYPE_CHECKING add.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.hops import hops

ROOT = Path(__file__).parents[2]
PACKAGES = ("bot", "engine", "training")
OPTIONS = argparse.ArgumentParser("python -m tests.benchmarks house")
OPTIONS.add_argument("--root", type=Path, default=ROOT, help="another checkout to measure")
OPTIONS.add_argument("--no-hops", action="store_true", help="leave out the way of a request")


@dataclass(frozen=True, slots=True)
class Module:
    """A file of the product: its dotted name, its tree, its lines."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def stem(self) -> str:
        """The file's own name; its folder's for an __init__.py."""
        return self.path.parent.name if self.path.stem == "__init__" else self.path.stem


def read(root: Path) -> dict[str, Module]:
    """Every module of the product by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, ast.parse(text), len(text.splitlines()))
    return found


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines, decorators apart."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def imports(module: Module, known: Mapping[str, Module], *, all_: bool) -> set[str]:
    """The modules that it imports when it is loaded; or `all_`, in functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(module.tree) if all_ else _loaded(module.tree.body):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        else:
            continue
        found |= {name for name in names if name in known}
    return found - {module.name}


def _loaded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If):
            yield from _loaded(node.body) if "TYPE_CHECKING" not in ast.unparse(node.test) else ()
            yield from _loaded(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _loaded(node.body)
        else:
            yield node


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that reach each other, by Tarjan's algorithm; in an order in which imports come first."""
    numbers: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        numbers[name] = low[name] = len(numbers)
        stack.append(name)
        for other in graph[name]:
            if other not in numbers:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], numbers[other])
        if low[name] == numbers[name]:
            at = stack.index(name)
            found.append(stack[at:])
            del stack[at:]

    for name in graph:
        if name not in numbers:
            visit(name)
    return found


def longest_chain(graph: Mapping[str, set[str]]) -> int:
    """Modules on the longest way along imports; a circle counts as many as it has."""
    lengths: dict[str, int] = {}
    for circle in circles(graph):
        before = [lengths[o] for name in circle for o in graph[name] if o not in circle]
        lengths |= dict.fromkeys(circle, len(circle) + max(before, default=0))
    return max(lengths.values(), default=0)


def run(folder: Path, given: argparse.Namespace) -> list[Figure]:
    """Everything that the house is held to."""
    modules = read(given.root)
    found = [*_sizes(modules), *_names(modules), *_graphs(modules)]
    return found if given.no_hops else [*found, *hops(folder, given.root)]


def _sizes(modules: Mapping[str, Module]) -> Iterator[Figure]:
    longest = max(modules.values(), key=lambda m: m.lines)
    name, lines = max(
        (
            (f"{m.name}.{name}", lines)
            for m in modules.values()
            for name, lines in functions(m.tree)
        ),
        key=lambda pair: pair[1],
    )
    folders = Counter(m.path.parent for m in modules.values() if m.path.stem != "__init__")
    fullest, most = folders.most_common(1)[0]
    yield Figure(name="files", value=len(modules), unit="files")
    yield Figure(
        name="lines", value=sum(m.lines for m in modules.values()), unit="lines", against="45,500"
    )
    yield Figure(
        name=f"longest file, {longest.name}", value=longest.lines, unit="lines", against="300"
    )
    yield Figure(name=f"longest function, {name}", value=lines, unit="lines", against="40")
    where = "/".join(fullest.parts[-2:])
    yield Figure(name=f"fullest folder, {where}", value=most, unit="files", against="16")


def _names(modules: Mapping[str, Module]) -> Iterator[Figure]:
    rooms = [m for m in modules.values() if m.path.stem not in ("__init__", "__main__")]
    gerunds = [m.name for m in rooms if m.stem.endswith("ing") and len(m.stem) > 5]
    within = Counter((m.name.split(".")[0], m.stem) for m in rooms)
    over_all = Counter(m.stem for m in rooms)
    share = 100 * len(gerunds) / len(rooms)
    yield Figure(name="modules named by a gerund", value=share, unit="%", against="3 %")
    doubled = sum(count > 1 for count in over_all.values())
    yield Figure(name="file names that occur twice or more", value=doubled, unit="names")
    doubled = sum(count > 1 for count in within.values())
    yield Figure(name="the same within one package", value=doubled, unit="names")


def _graphs(modules: Mapping[str, Module]) -> Iterator[Figure]:
    for all_ in (False, True):
        graph = {name: imports(m, modules, all_=all_) for name, m in modules.items()}
        rings = [circle for circle in circles(graph) if len(circle) > 1]
        largest = max(map(len, rings), default=0)
        when = "in functions and for types too" if all_ else "when loaded"
        if not all_:
            chain = longest_chain(graph)
            yield Figure(name="longest import chain", value=chain, unit="modules", against="14")
        yield Figure(name=f"circles {when}", value=len(rings), unit="circles", against="0")
        yield Figure(name=f"largest circle {when}", value=largest, unit="modules", against="0")
