"""Chat templates: the built-in ones, and what the checks make of the templates of real models.

Those are read out of TRL, which ships copies of them; SmolLM3's and Mistral's, which it does not ship, are shortened
here to what matters.
"""

import re
from pathlib import Path

import pytest
import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data.problem import Problem
from train.config.parse import parse_config
from train.model.chat import BUILT_IN, Chat, adds_bos, read_template, set_chat, suggestion
from train.model.chat_checks import ChatError, check_chat, check_prompts
from train.model.loading import ModelError, load_tokenizer
from train.model.prompts import completion_text, opens_thinking, prompt_ids, stop_ids, token_counts

SHIPPED = Path(trl.__file__).parent / "chat_templates"
CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
SMOLLM3 = (
    "{{- '<|im_start|>system\n' -}}{%- set today = strftime_now('%d %B %Y') -%}"
    "{{- 'Today Date: ' ~ today ~ '\nReasoning Mode: /think\n' -}}"
    "{%- if messages[0].role == 'system' -%}{{- messages[0].content -}}{%- endif -%}{{- '<|im_end|>\n' -}}"
    "{%- for message in messages -%}{%- if message.role != 'system' -%}"
    "{{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
NO_GENERATION_PROMPT = BUILT_IN["chatml"].split("{% if add_generation_prompt")[0]


def make_tokenizer(*special: str, template: str = "", bos: str | None = None, adds: bool = False, **named: str):
    """A tokenizer of bytes with these special tokens; `adds` has it put `bos` before every text."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=letters, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(special))
    if adds:
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos,
        chat_template=template or None,
        clean_up_tokenization_spaces=False,
        **named,
    )


def make_model(tokenizer, *, rows: int = 0, stops: list[int] | None = None) -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=rows or len(tokenizer), **sizes))
    model.generation_config = GenerationConfig(eos_token_id=stops)
    return model


def refusal(tokenizer, *, system: bool = False, **model) -> str:
    with pytest.raises(ChatError) as caught:
        check_chat(make_model(tokenizer, **model), tokenizer, system=system)
    message = str(caught.value)
    assert "\n" not in message
    return message


def shipped(name: str) -> str:
    return (SHIPPED / f"{name}.jinja").read_text()


GEMMA = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
R1 = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")
REAL = {
    "qwen2_5": (CHATML, {"eos_token": "<|im_end|>"}),
    "qwen3": (CHATML, {"eos_token": "<|im_end|>"}),
    "qwen3_5_think": (CHATML, {"eos_token": "<|im_end|>"}),
    "llama3": (LLAMA, {"bos": LLAMA[0], "adds": True, "eos_token": "<|eot_id|>"}),
    "llama3_2": (LLAMA, {"bos": LLAMA[0], "adds": True, "eos_token": "<|eot_id|>"}),
    "gemma3": (GEMMA, {"bos": "<bos>", "adds": True, "eos_token": "<end_of_turn>"}),
    "deepseek_r1_distill": (R1, {"bos": R1[0], "adds": True, "eos_token": R1[1]}),
    "phi3": (("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), {"eos_token": "<|end|>"}),
}


@pytest.mark.parametrize("name", REAL)
def test_templates_of_real_models_pass_with_a_system_message_and_without(name):
    special, named = REAL[name]
    tokenizer = make_tokenizer(*special, template=shipped(name), **named)
    check_chat(make_model(tokenizer), tokenizer, system=True)
    check_chat(make_model(tokenizer), tokenizer, system=False)


def test_mistrals_needs_no_generation_prompt_but_takes_no_system_message():
    tokenizer = make_tokenizer("<s>", "</s>", template=MISTRAL, bos="<s>", adds=True, eos_token="</s>")
    check_chat(make_model(tokenizer), tokenizer, system=False)
    assert "refuses a system message; leave system_prompt out" in refusal(tokenizer, system=True)


def test_gemma_2_refuses_a_system_message():
    tokenizer = make_tokenizer(*GEMMA, template=shipped("gemma"), bos="<bos>", adds=True, eos_token="<end_of_turn>")
    check_chat(make_model(tokenizer), tokenizer, system=False)
    assert "refuses a system message" in refusal(tokenizer, system=True)


def test_a_stop_token_that_only_the_generation_config_names_counts():
    tokenizer = make_tokenizer(*GEMMA, template=shipped("gemma3"), bos="<bos>", adds=True, eos_token="<eos>")
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    check_chat(make_model(tokenizer, stops=[tokenizer.eos_token_id, end]), tokenizer, system=False)
    assert "Set eos_token: '<end_of_turn>'" in refusal(tokenizer)


def test_the_base_models_of_qwen_end_turns_with_a_token_that_stops_nothing_until_it_is_named():
    tokenizer = make_tokenizer(*CHATML, template=shipped("qwen2_5"), eos_token="<|endoftext|>")
    assert "ends a turn with '<|im_end|>'" in refusal(tokenizer)
    set_chat(tokenizer, Chat(eos_token="<|im_end|>"))
    check_chat(make_model(tokenizer), tokenizer, system=False)
    assert tokenizer.decode(stop_ids(make_model(tokenizer), tokenizer)) == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (NO_GENERATION_PROMPT, "no generation prompt: before an answer it writes '<|im_start|>assistant'"),
        (BUILT_IN["chatml"].replace("<|im_end|>", ""), "writes no end-of-sequence token behind an answer"),
        (BUILT_IN["chatml"].replace("<|im_end|>", "</s>"), "none of the tokens that a completion stops at"),
        (BUILT_IN["chatml"].replace("assistant\n'", "assistant\n<think>\n\n</think>\n\n'"), "cannot think"),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.content }}<|im_end|>{% endfor %}",
            "drops or changes the system",
        ),
        (
            "{% for m in messages if m.role != 'user' %}{{ m.content }}<|im_end|>{% endfor %}",
            "drops or changes the user",
        ),
        (
            "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}",
            "leaves out what the assistant",
        ),
        (BUILT_IN["chatml"].replace("message['content']", "message['content'][:99]"), "drops or changes the user"),
        (BUILT_IN["chatml"].replace("message['content']", "(message['content']|e)"), "drops or changes the user"),
        (BUILT_IN["chatml"] + "{{ range(99999)|random }}", "renders the same conversation in two ways"),
        (BUILT_IN["chatml"] + "{{ 1 // (messages|length - 3) }}", "cannot be rendered (ZeroDivisionError"),
        ("{% for m in messages %}{{ m.content", "cannot be rendered (TemplateSyntaxError"),
        ("{% for m in messages %}{{ m.parts[0] }}{% endfor %}", "cannot be rendered (UndefinedError"),
    ],
)
def test_templates_that_would_spoil_a_run_are_refused_with_the_mend(template, message):
    tokenizer = make_tokenizer(*CHATML, template=template, eos_token="<|im_end|>")
    assert message in refusal(tokenizer, system=True)


NEEDS_SYSTEM = "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}" + BUILT_IN["chatml"]


def test_a_template_that_wants_a_system_message_gets_one_or_says_so(tmp_path):
    tokenizer = make_tokenizer(*CHATML, template=NEEDS_SYSTEM, eos_token="<|im_end|>")
    tokenizer.save_pretrained(tmp_path)
    make_model(tokenizer).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    check_chat(make_model(tokenizer), tokenizer, system=True)
    assert "wants a system message; set system_prompt, or take another" in refusal(tokenizer)
    assert not opens_thinking(tokenizer)


@pytest.mark.parametrize(
    ("ending", "opened"),
    [("<think>", True), ("<think>\\n\\n", True), ("<think>\\nOkay, ", True), ("", False), ("<think></think>", False)],
)
def test_whether_a_template_opens_the_thinking_is_read_from_all_that_it_writes_behind_the_question(ending, opened):
    template = "Between <think> and </think>." + BUILT_IN["chatml"].replace("assistant\n'", f"assistant\n{ending}'")
    assert opens_thinking(make_tokenizer(*CHATML, template=template, eos_token="<|im_end|>")) == opened


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("Be brief. /no_think", "for arithmetic with this system_prompt, writes an empty"),
        ("/deep", "opens the thinking"),
    ],
)
def test_a_system_prompt_that_switches_the_templates_thinking_is_refused(system, message):
    switch = (
        "{% if add_generation_prompt and '/no_think' in messages[0].content %}{{ '<think></think>' }}{% endif %}"
        "{% if add_generation_prompt and '/deep' in messages[0].content %}{{ '<think>\n' }}{% endif %}"
    )
    tokenizer = make_tokenizer(*CHATML, template=BUILT_IN["chatml"] + switch, eos_token="<|im_end|>")
    problems = [Problem("arithmetic", "What is 2 < 3?", "1", {})]
    check_prompts(tokenizer, problems, "Be brief.")
    with pytest.raises(ChatError, match=message) as caught:
        check_prompts(tokenizer, problems, system)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stops", [-1, "a", [3, None], True, 1.5, [[1]]])
def test_stop_tokens_that_are_no_numbers_of_tokens_are_refused(stops):
    tokenizer = make_tokenizer(*CHATML, template=BUILT_IN["chatml"], eos_token="<|im_end|>")
    with pytest.raises(ValueError, match=r"generation_config.json holds .*; expected a token's number"):
        check_chat(make_model(tokenizer, stops=stops), tokenizer, system=False)


def test_of_several_templates_the_default_is_kept_and_its_time_checked(tmp_path):
    tokenizer = make_tokenizer(*CHATML, eos_token="<|im_end|>")
    tokenizer.chat_template = {"default": BUILT_IN["chatml"], "tool_use": "{{ messages }}"}
    set_chat(tokenizer, Chat())
    assert tokenizer.chat_template == BUILT_IN["chatml"]


@pytest.mark.parametrize("special", [True, False])
def test_a_tag_that_is_a_token_and_written_in_pieces_is_counted_as_it_is_read(special):
    text = "<think> 1 + 2 </think> 3"
    pieces = make_tokenizer(*CHATML, eos_token="<|im_end|>").encode(text)
    tokenizer = make_tokenizer(*CHATML, eos_token="<|im_end|>")
    tokenizer.add_tokens([AddedToken(tag, special=special) for tag in ("<think>", "</think>")], special_tokens=special)
    assert len(tokenizer.encode(text)) < len(pieces)
    for ids in (pieces, tokenizer.encode(text)):
        assert completion_text(tokenizer, ids) == text
        assert token_counts(tokenizer, ids, opened=False) == (len(" 1 + 2 "), len(" 3"))


def test_qwens_mode_without_thinking_is_refused():
    tokenizer = make_tokenizer(*CHATML, template=shipped("qwen3_5_nothink"), eos_token="<|im_end|>")
    assert "writes an empty thinking" in refusal(tokenizer)


@pytest.mark.parametrize(("written", "message"), [("<s><s>", "begin with two BOS"), ("", "begin without the BOS")])
def test_two_bos_tokens_and_none_are_refused(written, message):
    template = MISTRAL.replace("{{ bos_token }}", written)
    assert message in refusal(make_tokenizer("<s>", "</s>", template=template, bos="<s>", adds=True, eos_token="</s>"))


def test_a_bos_token_that_opens_every_turn_is_not_two():
    tokenizer = make_tokenizer(*CHATML, template=BUILT_IN["chatml"], bos="<|im_start|>", eos_token="<|im_end|>")
    check_chat(make_model(tokenizer), tokenizer, system=True)  # as in SmolLM2


def test_a_tokenizer_that_is_not_the_models_is_refused():
    tokenizer = make_tokenizer(*CHATML, template=BUILT_IN["chatml"], eos_token="<|im_end|>")
    check_chat(make_model(tokenizer, rows=len(tokenizer) + 64), tokenizer, system=False)  # rows to spare are common
    assert "1 tokens beyond the model's" in refusal(tokenizer, rows=len(tokenizer) - 1)
    assert "stop token 9999 is beyond" in refusal(tokenizer, stops=[9999])


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("adds", [False, True])
def test_built_in_templates_pass_every_check(name, adds):
    tokenizer = make_tokenizer("<s>", *CHATML, bos="<s>", adds=adds, eos_token="<|im_end|>")
    set_chat(tokenizer, Chat(name))
    check_chat(make_model(tokenizer), tokenizer, system=True)
    assert adds_bos(tokenizer) == adds
    ids = prompt_ids(tokenizer, [{"role": "user", "content": "2 + 2?"}])
    assert ids.count(tokenizer.bos_token_id) == adds
    assert opens_thinking(tokenizer) == name.endswith("-think")


def test_chatml_without_its_tokens_is_refused_and_plain_named():
    tokenizer = make_tokenizer("</s>", eos_token="</s>")
    with pytest.raises(
        ValueError, match=re.escape("<|im_start|> is not a token of this tokenizer; choose plain-think")
    ):
        set_chat(tokenizer, Chat("chatml-think"))
    with pytest.raises(ValueError, match="eos_token is '<stop>', which is not a token"):
        set_chat(tokenizer, Chat(eos_token="<stop>"))


@pytest.mark.parametrize("template", [SMOLLM3, shipped("llama3_2")])
def test_a_prompt_does_not_change_with_the_date(template):
    tokenizer = make_tokenizer(*CHATML, *LLAMA, template=template, bos=LLAMA[0], eos_token="<|im_end|>")
    set_chat(tokenizer, Chat())
    set_chat(tokenizer, Chat())  # as when a checkpoint's tokenizer is loaded
    text = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    assert "Today Date: 26 Jul 2024\n" in text
    assert tokenizer.chat_template.count("macro strftime_now") == 1


def test_a_base_model_without_a_template_is_told_which_to_choose(tmp_path):
    make_tokenizer(*CHATML, eos_token="<|endoftext|>").save_pretrained(tmp_path)
    make_model(make_tokenizer(*CHATML)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no chat template, as most base models; set chat_template: plain-think"):
        load_tokenizer(str(tmp_path))
    assert load_tokenizer(str(tmp_path), Chat("plain")).chat_template == BUILT_IN["plain"]
    assert "chatml" not in suggestion(make_tokenizer("</s>", eos_token="</s>"))


def test_a_jinja_file_becomes_part_of_the_configuration(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(BUILT_IN["chatml"])
    run, _ = parse_config(["--name", "x", "--model", "m", "--tasks", '{"countdown": {}}', "--chat_template", str(path)])
    assert run.chat == Chat(BUILT_IN["chatml"])
    assert read_template("plain") == "plain"
    with pytest.raises(ValueError, match=r"one of plain, plain-think, chatml, chatml-think nor a readable file"):
        read_template(str(tmp_path / "none.jinja"))
    path.write_text("Hello")
    with pytest.raises(ValueError, match="never mentions `messages`"):
        read_template(str(path))


def test_a_scratch_model_keeps_its_own_template():
    with pytest.raises(ValueError, match="model is scratch, which has its own"):
        parse_config(["--name", "x", "--tasks", '{"countdown": {}}', "--chat_template", "plain"])


def test_variables_of_a_template_are_set_for_all_who_render_it(tmp_path):
    template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}"
        "{% if enable_thinking is defined and not enable_thinking %}[off]{% else %}[on]{% endif %}"
        "{{ effort }}{% endif %}"
    )
    tokenizer = make_tokenizer("<|im_end|>", template=template, eos_token="<|im_end|>")
    asked = [{"role": "user", "content": "hi"}]
    set_chat(tokenizer, Chat(variables={"enable_thinking": False, "effort": "it's {{ low }}"}))
    rendered = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    assert rendered == "hi[off]it's {{ low }}"
    tokenizer.save_pretrained(tmp_path)
    assert (
        type(tokenizer).from_pretrained(tmp_path).apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        == rendered
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"messages": "x"}, "sets 'messages'"),
        ({"a b": 1}, "sets 'a b'"),
        ({"documents": ["x"]}, "sets documents to \\['x'\\]"),
    ],
)
def test_variables_that_no_template_takes_are_refused(variables, message):
    with pytest.raises(ValueError, match=message):
        set_chat(make_tokenizer("<e>", template="{{ messages }}", eos_token="<e>"), Chat(variables=variables))
