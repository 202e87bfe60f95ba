"""Slow libraries are imported after the first page, by one thread at a time. In processes of their own."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def run(code: str) -> str:
    """Standard output of a program."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr, done.stderr
    return done.stdout.strip()


def test_the_first_page_is_built_without_the_slow_imports(trained):
    output = run(
        "import sys\nfrom medvit.ui import app\nfrom medvit.inference.registry import Registry\n"
        f"app.build(Registry.open({str(trained)!r}))\n"
        "print([m for m in ('transformers', 'sklearn', 'scipy', 'matplotlib', 'torchvision', 'cv2',"
        " 'pytorch_grad_cam', 'medmnist', 'peft') if m in sys.modules])"
    )
    assert output.splitlines()[-1:] == ["[]"]


def test_predictions_while_transformers_is_imported_wait_for_it(trained):
    output = run(
        "import threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from medvit import load\nfrom medvit.data import synthetic\n"
        "from medvit.slow_imports import import_slow_libraries\n"
        "barrier = threading.Barrier(7)\n"
        "def visit(i):\n"
        f"    predictor = load('breastmnist', 'spt_lsa', {str(trained)!r})\n"
        "    barrier.wait()\n"
        "    return predictor(synthetic.draw('breastmnist', i))['label']\n"
        "with ThreadPoolExecutor(6) as pool:\n"
        "    labels = pool.map(visit, range(6))\n"
        "    barrier.wait()\n"
        "    import_slow_libraries()\n"
        "    print(len(list(labels)), 'labels')\n"
    )
    assert output.endswith("6 labels")


def test_two_threads_that_need_scikit_learn_first_wait_for_each_other():
    run(
        "import sys, threading, time\n"
        "from medvit.slow_imports import sklearn_metrics, sklearn_model_selection\n"
        "assert 'sklearn' not in sys.modules\n"
        "uses = [lambda: sklearn_metrics.roc_curve, lambda: sklearn_model_selection.train_test_split]\n"
        "threads = [threading.Thread(target=use) for use in uses]\n"
        "threads[0].start()\n"
        "while 'sklearn' not in sys.modules:\n"  # without a lock, half of these failed here
        "    time.sleep(2e-4)\n"
        "threads[1].start()\n"
        "[thread.join() for thread in threads]\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        "from transformers import AutoConfig",
        "from transformers import AutoImageProcessor",
        "from transformers import AutoModelForImageClassification",
        "from transformers import Trainer",
        "import medvit.models.vit",
    ],
)
def test_checkpoints_open_whatever_part_of_transformers_is_imported_first(trained, first):
    folder = str(trained / "breastmnist" / "spt_lsa")
    output = run(
        f"import medvit\n{first}\nfrom transformers import AutoConfig, AutoModelForImageClassification\n"
        f"print(AutoModelForImageClassification.from_pretrained({folder!r}).config.model_type)\n"
        f"print(AutoConfig.from_pretrained({folder!r}).model_type)"
    )
    assert output.splitlines()[-2:] == ["medvit_spt_lsa", "medvit_spt_lsa"]


def test_the_packages_of_the_documentation_are_there_after_importing_medvit_alone():
    code = (
        "import sys, medvit; assert 'torch' not in sys.modules; medvit.imaging.Preprocessing; "
        "print(medvit.explain.faithfulness.STEPS, medvit.explain.scale.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "24 scale\n", done.stderr
