import pytest

from train.model import template_time
from train.model.template_worker import render

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
REQUEST = {"conversations": [[{"role": "user", "content": "hi"}]], "tokens": {"bos_token": "<s>", "eos_token": "</s>"}}


def test_a_template_whose_loops_stand_in_one_another_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(template_time, "SECONDS", 0.5)
    monkeypatch.setattr(tokenizer, "chat_template", LOOPS)
    with pytest.raises(ValueError, match="the chat template does not render a short conversation: it timed out"):
        template_time.check_time(tokenizer)


def test_our_own_template_starts_no_worker(tokenizer, monkeypatch):
    monkeypatch.setattr(template_time, "WorkerPool", None)
    template_time.check_time(tokenizer)


@pytest.mark.parametrize(
    ("template", "lengths"),
    [
        ("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}", [5]),
        ("{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% break %}{% endfor %}", [2]),
        ("{{ messages | tojson }}", [35]),
        ("{{ raise_exception('no') }}", None),
        ("{% for %}", None),
    ],
)
def test_the_worker_renders_as_transformers_does(template, lengths):
    assert render(REQUEST | {"template": template}) == lengths
