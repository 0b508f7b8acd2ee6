"""JupyterLab, started for real: a chapter opens from either half and runs to its end."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page

from .conftest import ROOT, keep

TOKEN = "reader"
#: Longest run of a chapter, on two cores that are busy [ms].
PATIENCE_MS = 240_000

# Cells and outputs of the open notebook as the model has them: the page draws only what is seen.
READ_NOTEBOOK = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = [...panel.content.model.cells].map(cell => ({
        type: cell.type,
        count: cell.executionCount ?? null,
        source: cell.sharedModel.getSource(),
        outputs: cell.type === 'code' ? cell.outputs.toJSON() : [],
    }));
    return {path: panel.context.path, cells, status: panel.sessionContext.session?.kernel?.status};
}"""
HAS_RUN = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code');
    const failed = cells.some(cell => cell.outputs.toJSON().some(o => o.output_type === 'error'));
    const isIdle = panel.sessionContext.session?.kernel?.status === 'idle';
    return failed || (isIdle && cells.every(cell => cell.executionCount));
}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy to work in: JupyterLab saves what it opens."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("notebooks", "configs", "results", "data/sim-demo"):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture(scope="module")
def server(project, tmp_path_factory) -> Iterator[str]:
    """Address of a JupyterLab with the settings of `make lab` and none of the user's."""
    own = tmp_path_factory.mktemp("jupyter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    environment = os.environ | {name: str(own / name.lower()) for name in folders}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
    ]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={project}"]
    command += ["--LabApp.expose_app_in_browser=True", f"--LabApp.app_settings_dir={ROOT}/.binder"]
    command += [f"--LabApp.workspaces_dir={own}", f"--LabApp.user_settings_dir={own}"]
    log = own / "server.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api/status?token={TOKEN}", process, log)
        yield address
    finally:
        process.terminate()  # it ends its kernels first
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Return when a server answers; fail with its log when it does not."""
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab does not answer:\n{log.read_text(encoding='utf-8')[-3000:]}")


@pytest.fixture
def lab(browser, server) -> Iterator[Page]:
    """A window that asks for nothing but this server."""
    context = browser.new_context(
        viewport={"width": 1300, "height": 1000}, reduced_motion="reduce", base_url=server
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    outside = []
    page.on("request", lambda r: outside.append(r.url) if is_outside(r.url, server) else None)
    yield page
    context.close()
    assert not outside, outside


def is_outside(address: str, server: str) -> bool:
    return not address.startswith((server, "data:", "blob:", "about:"))


def open_file(page: Page, path: str) -> dict:
    """Open a file as a double click does, and wait for its kernel; returns the notebook."""
    page.goto(f"/lab/tree/{path}?token={TOKEN}&reset")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    # Asked again and again: a promise that is awaited may be lost with what it waits for.
    page.wait_for_function(
        """path => {
            const panel = window.jupyterapp?.shell.currentWidget;
            return panel?.context?.path === path && panel.sessionContext?.isReady
                && panel.sessionContext.session?.kernel?.status === 'idle';
        }""",
        arg=path,
    )
    notebook = page.evaluate(READ_NOTEBOOK)
    assert notebook["path"] == path
    return notebook


def run_all(page: Page) -> dict:
    """Run every cell as the menu does; returns the notebook when the kernel rests."""
    # Not awaited: the promise of the command ends with the last cell.
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(HAS_RUN, timeout=PATIENCE_MS)
    notebook = page.evaluate(READ_NOTEBOOK)
    outputs = [output for cell in notebook["cells"] for output in cell["outputs"]]
    errors = [output for output in outputs if output["output_type"] == "error"]
    assert not errors, "\n".join(errors[0]["traceback"])
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return notebook


def show_output(page: Page, notebook: dict, kind: str) -> None:
    """Scroll to the first output of a kind: cells out of sight are not part of the page."""
    index = next(
        index
        for index, cell in enumerate(notebook["cells"])
        if any(kind in output.get("data", {}) for output in cell["outputs"])
    )
    page.evaluate(
        """async index => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = index;
            await notebook.scrollToItem(index, 'start');
        }""",
        index,
    )


def figures(notebook: dict) -> int:
    outputs = [output for cell in notebook["cells"] for output in cell["outputs"]]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_both_halves_open_as_the_same_notebook(lab):
    """The `.md` opens as a notebook by itself, as the `.ipynb` does."""
    halves = [open_file(lab, f"notebooks/train.{suffix}") for suffix in ("ipynb", "md")]
    keep(lab, "lab-train-md")
    cells = [[(c["type"], c["source"].rstrip()) for c in half["cells"]] for half in halves]
    assert cells[0] == cells[1]
    assert len(cells[0]) > 10


def test_train_runs_to_its_end(lab):
    """The chapter at its default size, with its pictures; a piece of prose is drawn as text."""
    open_file(lab, "notebooks/train.ipynb")
    notebook = run_all(lab)
    assert figures(notebook) >= 3
    keep(lab, "lab-train-top")
    show_output(lab, notebook, "image/png")
    lab.locator(".jp-RenderedImage img").first.wait_for()
    keep(lab, "lab-train-figure")


def test_explorer_follows_a_click(lab):
    """The widget asks the kernel for a new map and shows it."""
    open_file(lab, "notebooks/explore.ipynb")
    notebook = run_all(lab)
    assert figures(notebook) >= 2
    show_output(lab, notebook, "application/vnd.jupyter.widget-view+json")
    explorer = lab.get_by_test_id("explorer").first  # the live one; the frozen one is below
    explorer.wait_for()
    assert explorer.get_attribute("data-state") == "ready"
    canvas, status = (explorer.get_by_test_id(f"explorer-{n}") for n in ("canvas", "status"))
    canvas.scroll_into_view_if_needed()
    before = [explorer.get_by_test_id(f"explorer-{axis}").input_value() for axis in "xy"]
    drawn = canvas.evaluate("canvas => canvas.toDataURL()")
    box = canvas.bounding_box()
    for share in ((0.2, 0.2), (0.8, 0.2), (0.5, 0.5), (0.2, 0.8), (0.8, 0.8), (0.35, 0.6)):
        canvas.click(position={"x": box["width"] * share[0], "y": box["height"] * share[1]})
        if "building" not in status.inner_text():
            break
    else:
        pytest.fail("every click met a building")
    status.filter(has_text="Done in").wait_for(timeout=PATIENCE_MS)
    assert [explorer.get_by_test_id(f"explorer-{axis}").input_value() for axis in "xy"] != before
    assert canvas.evaluate("canvas => canvas.toDataURL()") != drawn
    keep(lab, "lab-explore")
