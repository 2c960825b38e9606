"""The chat page in a real browser: thinking open, steps marked, tokens counted, nothing run that a model wrote."""

from pathlib import Path

import pytest
from serving import Recital, save_tiny, serving

from eval.newcomer.chromium import browser, chromium
from eval.sampling.source import read_source
from eval.serve.listen import Options
from eval.serve.marking import Marker
from eval.serve.served import load_served

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium")
SAID = "<think> try 2 + 6 = 9 , 9 - 8 = 1 vs 14 no try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
QUICKSTART = Path(__file__).parents[3] / "configs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    checkpoint = save_tiny(tmp_path_factory.mktemp("tiny"), opened=False)
    return load_served(checkpoint, Options(config=QUICKSTART))[1]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def ask(page, question):
    page.run(f"document.getElementById('question').value = {question!r}; document.getElementById('send').click()")
    page.wait("document.querySelector('article.assistant:last-of-type')?.dataset.done")


def test_a_reader_sees_the_thinking_marked_and_counted(served, page, tmp_path):
    with serving(served, Recital(served.tokenizer, SAID)) as server:
        page.open(server.url)
        ask(page, "numbers 2 6 6 target 14")
        assert page.run("document.querySelector('details.thinking').open")
        steps = page.run("[...document.querySelectorAll('.step')].map(step => [step.textContent, step.className])")
        assert [step for step in steps if "wrong" in step[1]] == [["2 + 6 = 9✗", "step wrong"]]
        assert sum("right" in step[1] for step in steps) == 3
        assert page.run("document.querySelector('.should').textContent") == " is 8"
        attempts = page.run("[...document.querySelectorAll('.attempt')].map(attempt => attempt.textContent)")
        assert attempts == ["attempt 1 ✗", "attempt 2 ✓"]
        assert page.run("document.querySelector('.answer').textContent") == "( 2 + 6 ) + 6"
        assert page.run("document.querySelector('.verdict').textContent") == "✓ right"
        assert "of them thinking" in page.run("document.querySelector('.counts').textContent")
        assert page.run("document.querySelector('summary').textContent").startswith("Thinking · 3")
        page.picture(tmp_path / "chat.png")
        assert (tmp_path / "chat.png").stat().st_size > 10_000
        assert not [line for line in page.log if "rror" in line]


def test_a_held_out_problem_is_offered_and_judged(served, page):
    with serving(served, Recital(served.tokenizer, SAID)) as server:
        page.open(server.url)
        page.run("document.getElementById('offer').click()")
        page.wait("document.querySelector('article.assistant')?.dataset.done")
        question = page.run("document.querySelector('article.user').textContent")
        assert Marker(served.source).recognise(question)
        assert page.run("document.querySelector('.verdict').textContent").startswith("✗ wrong")


def test_what_is_written_into_the_page_stays_text(served, page):
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    with serving(served, Recital(served.tokenizer, f"<think> 1</think> {attack}")) as server:
        page.open(server.url)
        ask(page, attack)
        assert page.run("document.querySelector('article.user').textContent") == attack
        assert page.run("document.querySelectorAll('main img, main script').length") == 0
        assert page.run("document.title") != "owned"


def test_an_error_is_shown_and_the_next_message_goes_out(served, page):
    with serving(served, Recital(served.tokenizer, SAID)) as server:
        page.open(server.url)
        page.run("document.getElementById('most').value = 100000")
        ask(page, "numbers 2 6 6 target 14")
        assert "so at most" in page.run("document.querySelector('.error').textContent")
        page.run("document.getElementById('most').value = ''")
        ask(page, "numbers 2 6 6 target 14")
        assert page.run("document.querySelectorAll('.verdict.right').length") == 1


def test_problems_are_known_by_what_they_ask():
    marker = Marker(read_source(QUICKSTART))
    assert all(marker.recognise(problem.prompt) == problem for problem in marker.problems.values())
    typed = Marker(None)
    for question, known in [
        ("numbers 8 2 6 target 14", True), ("compute 25 + 17 * 3", True), ("compute 7 / 2", False),
        ("compute 7 / 0", False), ("numbers 2 target 4", False), ("numbers 2 6 target 14 ; drop", False), ("", False),
    ]:  # fmt: skip
        assert (typed.recognise(question) is not None) == known, question
    for problem in marker.problems.values():
        assert typed.recognise(problem.prompt) == problem
