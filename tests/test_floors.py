"""The house stands: every module imports from floors below it, and within a room from what is listed before it.

FLOORS is the picture.  A floor is rooms, a room is places in the order in which they may see each other; a place is a
module, or a package with all that lies in it.  Rooms of one floor do not see each other.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS: list[list[list[str]]] = [
    [
        [
            *("errors", "say", "shell", "phases", "version", "registry", "variants", "paths", "files", "untrusted"),
            *("interrupt", "output", "system", "utils"),
            *("randomness", "workers", "initialise", "passes", "norms", "convolution", "dropout"),
            *("launch", "compiling", "ranks", "distributed"),
            *(
                "report.reading",
                "report.lettering",
                "report.palette",
                "report.drawing",
                "report.curves",
                "report.thinning",
                "report.plotting",
                "report.loss_picture",
                "report.heatmaps",
                "report.statistics",
                "report.words",
                "report.verdicts",
                "report.headline",
                "report.tidy",
                "report.records",
                "report.cells",
            ),
            *(
                "report.arms",
                "report.compare",
                "report.figures",
                "report.pictures",
                "report.single",
                "report.page",
                "report.tables",
                "report.published",
                "report.index",
                "report",
            ),
        ],
    ],
    [
        [
            *("text.encodings", "text.reading", "text.corpora", "text.config", "text.tokens", "text.tokenizer_json"),
            *("text.library", "text.tokenizers", "text.special", "text.batches", "text.prompts", "text.splits"),
            *("text.prepared_folder", "text.prepared", "text.corpus", "text.preparing", "text"),
        ],
        [
            *("attention.config", "attention.scores", "attention.masks", "attention.positions"),
            *("attention.kernels", "attention.cache", "attention.layers", "attention.maps", "attention"),
        ],
        [
            "recurrent.config",
            "recurrent.activations",
            "recurrent.scan",
            "recurrent.cells",
            "recurrent.layers",
            "recurrent",
        ],
        ["mlps"],
    ],
    [["model_config", "lm"]],
    [["model"], ["rnn"], ["grams", "ngram"]],
    [
        ["zoo"],
        ["sampling_settings", "stepping", "sampling"],
        ["influence", "evaluate"],
        ["probe"],
        ["optim"],
        ["runlog", "wandb_process", "mirror"],
        ["checkpoint"],
        ["scratch"],
    ],
    [["training_settings", "carried", "trainer", "counting", "events"], ["fitting"], ["past_block"]],
    [
        [
            *("flag_values", "flags", "origins", "settings", "folders", "shortage", "rendering"),
            *("trained", "baselines", "announcing", "run"),
        ]
    ],
    [["benchmarks", "experiments"], ["interop"], ["selftest"]],
    [["terminal", "terminal_plot", "live", "progress", "console", "comparing", "options", "verbs", "cli", "__main__"]],
]
LOADS_LATE = {
    "verbs": "a verb's modules, when that verb is called",
    "benchmarks.peers": "one of several projects whose packages share few names; a script, never imported",
}
PLACES = {
    place: (f, r, i) for f, rooms in enumerate(FLOORS) for r, room in enumerate(rooms) for i, place in enumerate(room)
}


@dataclass
class Imports:
    """What one module imports: project modules by their names after `mingpt.`, others by their first name."""

    project: set[str] = field(default_factory=set)
    inside_functions: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)


def names_in(folder: Path) -> dict[str, Path]:
    """Every module under the package's folder by its name after `mingpt.`; the package itself is left out."""
    names = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in folder.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in names.items() if name != "__init__"}


def read_imports(source: str, package: str, known: Iterable[str]) -> Imports:
    """What `source` imports, which lies in `package` (as `mingpt.data`); `known` tells a module from a name in one."""
    found, modules = Imports(), {f"mingpt.{name}" for name in known}
    tree = ast.parse(source)
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    late = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            inner = [f"{home}.{alias.name}" for alias in node.names]
            targets = [name if name in modules or home == "mingpt" else home for name in inner]
        else:
            continue
        for target in targets:
            first, _, rest = target.partition(".")
            if first != "mingpt":
                found.others.add(first)
            elif rest:
                found.project.add(rest)
                if id(node) in late:
                    found.inside_functions.add(rest)
    return found


def place_of(module: str) -> str | None:
    """The nearest listed place that holds `module`: itself, or a package around it."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in PLACES), None)


def faults(house: Mapping[str, Imports]) -> list[str]:
    """One sentence for each import that goes up, across or late, and for each module without a floor."""
    said = [f"{module}: give it a floor in {Path(__file__).name}" for module in house if place_of(module) is None]
    for module, imports in house.items():
        here = place_of(module)
        for target in sorted(imports.project):
            there = place_of(target)
            if here is None or there is None or here == there:
                continue
            (floor, room, position), (other_floor, other_room, other_position) = PLACES[here], PLACES[there]
            if other_floor > floor:
                said.append(f"{module} imports {target} from the floor above")
            elif other_floor == floor and other_room != room:
                said.append(f"{module} imports {target} from another room of its floor")
            elif other_floor == floor and other_position > position:
                said.append(f"{module} imports {target}, which is listed after it")
        if module not in LOADS_LATE:
            said += [f"{module} imports {target} inside a function" for target in sorted(imports.inside_functions)]
    return said


def reached_from(start: Iterable[str], house: Mapping[str, Imports]) -> set[str]:
    """The modules that importing `start` imports, with the packages around them."""
    seen, todo = set(), list(start)
    while todo:
        module = todo.pop()
        if module in house and module not in seen:
            seen.add(module)
            todo += [*house[module].project, module.rpartition(".")[0]]
    return seen


@pytest.fixture(scope="module")
def house() -> dict[str, Imports]:
    paths = names_in(ROOT / "mingpt")
    return {
        name: read_imports(
            path.read_text(encoding="utf-8"),
            f"mingpt.{name}" if path.stem == "__init__" else f"mingpt.{name}".rpartition(".")[0],
            paths,
        )
        for name, path in paths.items()
    }


def test_module_imports_from_above_or_across_or_late_or_has_no_floor(house: dict[str, Imports]) -> None:
    assert len(house) > 20  # else nothing was read
    assert faults(house) == []


def test_script_that_loads_late_is_imported(house: dict[str, Imports]) -> None:
    assert not any("benchmarks.peers" in imports.project for imports in house.values())


def test_readme_shows_another_house(house: dict[str, Imports]) -> None:
    lines = dict(re.findall(r"^ (\d)   (.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    floor_of = {place_of(name): PLACES[place_of(name) or ""][0] for name in house if "." not in name}
    there = {name for name, floor in floor_of.items() if re.search(rf"\b{name}\b", lines[str(floor)])}
    assert floor_of.keys() - there <= {"version"}


def test_modules_import_each_other_in_a_circle(house: dict[str, Imports]) -> None:
    graph = {module: imports.project - {module} for module, imports in house.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail(f"a circle: {' -> '.join(circle.args[1])}")
    assert order.index("errors") < order.index("run") < order.index("cli")


def test_report_or_help_needs_torch(house: dict[str, Imports]) -> None:
    assert "torch" in house["model"].others
    for start in (
        [name for name in house if name.startswith("report")],
        ["comparing"],
        ["version", "errors", "registry"],
    ):
        needing = {module for module in reached_from(start, house) if "torch" in house[module].others}
        assert needing == set()


def test_package_itself_loads_a_module_before_it_is_asked_for() -> None:
    tree = ast.parse((ROOT / "mingpt" / "__init__.py").read_text(encoding="utf-8"))
    for_types = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    assert for_types
    tree.body = [node for node in tree.body if node not in for_types]
    assert read_imports(ast.unparse(tree), "mingpt", names_in(ROOT / "mingpt")).project == set()


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("errors", "import mingpt.runs.run as r", "errors imports run from the floor above"),
        ("lm", "from mingpt import trainer", "lm imports trainer from the floor above"),
        ("text.corpora", "from ..model import GPT", "text.corpora imports model from the floor above"),
        ("text.corpora", "from . import batches", "text.corpora imports text.batches, which is listed after it"),
        (
            "text.corpora",
            "from mingpt.models.mlp import MLPS",
            "text.corpora imports mlps from another room of its floor",
        ),
        (
            "zoo",
            "if True:\n  from mingpt.inference.generate import write",
            "zoo imports sampling from another room of its floor",
        ),
        ("run", "def f():\n  from mingpt.core.errors import require", "run imports errors inside a function"),
        (
            "run",
            "class A:\n  f = lambda: 1\n  def g(self):\n    import mingpt.models.base",
            "run imports lm inside a function",
        ),
        ("flags", "from mingpt.runs.config import parse", "flags imports settings, which is listed after it"),
        ("brand_new", "import torch", "brand_new: give it a floor in test_floors.py"),
    ],
)
def test_made_up_fault_is_missed(module: str, source: str, fault: str) -> None:
    known = [*names_in(ROOT / "mingpt"), module]
    package = f"mingpt.{module}".rpartition(".")[0]
    assert faults({module: read_imports(source, package, known)}) == [fault]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("run", "from mingpt.core.errors import require\nfrom mingpt.runs.config import Config"),
        ("verbs", "def train():\n  from mingpt import run"),
        ("attention.kernels.banded", "from mingpt.models.attention.kernels.sdpa import attend"),
        ("errors", "import torch, numpy.linalg\nfrom mingptx import run"),
    ],
)
def test_sound_import_is_refused(module: str, source: str) -> None:
    known = [*names_in(ROOT / "mingpt"), module]
    assert faults({module: read_imports(source, f"mingpt.{module}".rpartition(".")[0], known)}) == []
