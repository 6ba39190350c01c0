"""README.md and docs/: each command is one that its script takes, each link leads somewhere."""

import importlib
import importlib.util
import re
import shlex
import shutil
import textwrap

import pytest
from conftest import ROOT, make_folders, refusal, run_well, slow

from unet.jobs import RECIPES, choose_recipe
from unet.options import parse_options

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").glob("*.md"))
SCRIPTS = ("data.py", "train.py", "test.py", "submission.py", "model.py")


def prose(page):
    """The lines of a page that are no code and no table."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return [line for line in text.splitlines() if not line.startswith("|")]


def commands(page):
    """The words of each command of the project in a page's blocks of bash, "python" left out."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        for command in line.partition(" #")[0].split("&&"):
            words = shlex.split(command, comments=True)
            while words and "=" in words[0]:  # KERAS_BACKEND=jax python ...
                words = words[1:]
            if words[:1] == ["python"]:
                yield tuple(words[1:])


COMMANDS = sorted({words for page in PAGES for words in commands(page)})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_is_one_that_its_script_takes(words):
    script, *arguments = words
    if script == "-m" and arguments[0] in ("pytest", "benchmarks.plain"):
        return
    if script == "-m":
        if arguments[0] == "benchmarks.gpu":
            pytest.importorskip("torch")
        module, arguments = importlib.import_module(arguments[0]), arguments[1:]
    else:
        assert script in (*SCRIPTS, "tests/fuzz.py")
        if script == "tests/fuzz.py":
            pytest.importorskip("atheris")
        spec = importlib.util.spec_from_file_location("script", ROOT / script)  # `test` is taken
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    options = parse_options(module.Options, script, module.__doc__, arguments)
    if script == "train.py":
        recipe = choose_recipe(options.job, options.recipe)
        RECIPES[recipe][options.job].change(options.set)


def test_there_are_commands():
    assert len(COMMANDS) > 50
    assert len(list(commands(ROOT / "README.md"))) > 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_of_prose_is_long(page):
    assert [line for line in prose(page) if len(line) > 120] == []


def test_no_sentence_stands_twice():
    seen = {}
    for page in PAGES:
        text = re.sub(r"!\[[^]]*\]", "", " ".join(prose(page)))
        for sentence in re.split(r"(?<=[.:?!])\s+", text):
            if len(sentence.split()) > 7:
                assert sentence not in seen, f"{seen.get(sentence)} and {page.name}: {sentence}"
                seen[sentence] = page.name


def test_the_readme_is_one_page():
    text = (ROOT / "README.md").read_text().partition("## Sources")[0]
    assert len(text.split()) < 1000


def test_the_readme_has_the_commands_that_install_and_test():
    text = (ROOT / "README.md").read_text()
    install = "python3 -m venv .venv && . .venv/bin/activate && pip install -r requirements"
    assert f"\n{install}.txt && python train.py\n" in text
    test = f"{install}-dev.txt && python -m pytest"
    assert f"\n{test}\n" in text
    assert f"\n{test} || exit 1\n" in (ROOT / ".ci/run").read_text()


def test_each_documents_network_is_drawn_on_its_page():
    text = (ROOT / "docs/documents.md").read_text()
    for job in RECIPES["document"]:
        assert f"networks/{job}.svg" in text


def test_the_figures_of_the_first_page_are_those_of_the_results_page():
    def table(page, heading):
        part = (ROOT / page).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
        rows = [row for row in rows if row and row[0] in RECIPES["document"]]
        return {row[0]: row[1:] for row in reversed(rows)}  # a job's first row

    first = table("README.md", "Results")
    document = table("docs/results.md", "By the document's recipe")
    modern = table("docs/results.md", "By the modern recipe")
    assert set(first) == set(document) == set(RECIPES["document"])
    for job, (by_document, by_modern, minutes) in first.items():
        assert by_document == document[job][0]
        assert by_modern == modern[job][0]
        assert minutes == modern[job][-1].split()[0]


def test_each_statement_of_the_documents_says_where_it_is_and_how_near():
    text = (ROOT / "docs/documents.md").read_text().partition("## Statement by statement")[2]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip("| ") for cell in row] for row in rows if row[0] != "| statement"]
    assert len(rows) > 120
    sources = [path for pattern in ("*.py", "unet/**/*.py") for path in ROOT.glob(pattern)]
    code = "".join(path.read_text() for path in sources)
    for statement, where, nearness in rows:
        kind, _, reason = nearness.partition(": ")
        assert kind in ("same", "equivalent", "different"), statement
        assert bool(reason) == (kind != "same"), statement
        for name in re.findall(r"`([^`]+)`", where):
            file = name.split()[0]
            if "/" in file or file.endswith((".py", ".txt", ".md")):
                is_output = file.startswith(("weights/", "vis/", "output/"))
                assert is_output or (ROOT / file).exists(), statement
            elif not file.startswith("--"):
                assert re.search(rf"\b{re.escape(file)}\b", code), statement


@slow
def test_a_loss_is_added_in_two_steps_and_a_job_in_three(place):
    """As docs/changing.md says, in a copy of the project."""
    shutil.copytree(ROOT / "unet", place / "unet")
    for script in SCRIPTS:
        shutil.copy(ROOT / script, place)
    text = (ROOT / "docs/changing.md").read_text()
    function = textwrap.dedent(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    row = re.search(r'`("squared_dice": .*?,)`', text)[1]

    losses = place / "unet/losses.py"
    code = losses.read_text().replace("LOSSES = {", f"{function}\n\nLOSSES = {{\n    {row}")
    losses.write_text(code)

    shutil.copy(place / "unet/jobs/nerve.py", place / "unet/jobs/mine.py")
    table = place / "unet/jobs/__init__.py"
    code = table.read_text().replace("import cadastre,", "import mine, cadastre,")
    for recipe in ("DOCUMENT", "MODERN"):
        code = code.replace(
            f'"car": car.{recipe},', f'"car": car.{recipe}, "mine": mine.{recipe},'
        )
    table.write_text(code)

    make_folders(place, size=(64, 80), channels=1)
    own = str(place)
    assert "python data.py mine expects" in refusal(f"{own}/data.py", "mine")
    run_well(f"{own}/data.py", "mine", "--images", "images", "--masks", "masks")
    small = "--set", "network.filters=4,6", "network.bottleneck=8"
    assert "squared_dice" in run_well(f"{own}/train.py", "--help")
    given = "--loss", "squared_dice", "--epochs", 1, "--steps-per-epoch", 1
    assert ", squared_dice, adam" in run_well(f"{own}/train.py", "mine", *given, *small)
    assert "5 images" in run_well(f"{own}/test.py", "mine")
