"""The order of CONTRIBUTING.md: nothing imports from below itself, and only ui/ knows Gradio."""

import ast

from .conftest import REPOSITORY

ORDER = (
    "errors", "limits", "pieces", "dicom", "subsets", "images", "phantoms", "models", "explain",
    "figures", "eda", "checkpoint", "evaluation", "training", "batcher", "predictor", "batch", "batch_ray",
    "case_report", "store", "answers", "worker", "ui",
)  # fmt: skip


def imports(path):
    """Dotted names that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_follow_the_order_of_the_house():
    files = [
        path
        for path in (REPOSITORY / "medvit").rglob("*.py")
        if path.parent.name != "medvit" or path.stem != "__init__"
    ]
    assert len(files) > 20
    for path in files:
        own = path.relative_to(REPOSITORY / "medvit").parts[0].removesuffix(".py")
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "medvit" and len(parts) > 1:
                assert ORDER.index(parts[1]) <= ORDER.index(own), f"{path} imports {name}"
            assert parts[0] != "gradio" or own == "ui", path


def test_nothing_unpickles():
    for path in [*(REPOSITORY / "medvit").rglob("*.py"), *(REPOSITORY / "scripts").glob("*.py")]:
        text = path.read_text()
        for word in ("torch.load", "import pickle", "allow_pickle=True", "trust_remote_code=True"):
            assert word not in text, (path, word)
