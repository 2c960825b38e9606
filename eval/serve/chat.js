"use strict";
// What a model wrote enters the page as text alone (textContent), never as HTML.

const settings = JSON.parse(document.body.dataset.settings);
const $ = (id) => document.getElementById(id);
let conversation = [];
let stopper = null;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function setUp() {
  $("temperature").value = settings.temperature;
  $("most").max = settings.longest;
  $("remember").checked = settings.remembers;
  $("offer").hidden = $("hint-problem").hidden = !settings.problems;
  for (const label of document.querySelectorAll(".budgets")) label.hidden = !settings.budgets;
  for (const label of document.querySelectorAll(".system")) label.hidden = !settings.system;
  for (const effort of settings.efforts) $("effort").append(element("option", "", effort));
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); ask($("question").value); });
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask($("question").value); }
  });
  $("stop").addEventListener("click", () => stopper && stopper.abort());
  $("new").addEventListener("click", () => { if (stopper) stopper.abort(); conversation = []; $("talk").replaceChildren(); $("hint").hidden = false; });
  $("offer").addEventListener("click", async () => {
    const problem = await (await fetch("/page/problem")).json();
    if (problem) ask(problem.prompt);
  });
}

function request(question) {
  const system = settings.system && $("system").value ? [{ role: "system", content: $("system").value }] : [];
  const earlier = $("remember").checked ? conversation : [];
  const body = {
    model: settings.model, stream: true, stream_options: { include_usage: true },
    messages: [...system, ...earlier, { role: "user", content: question }],
  };
  const number = (id, name) => { if ($(id).value !== "") body[name] = Number($(id).value); };
  number("temperature", "temperature"); number("most", "max_completion_tokens"); number("seed", "seed");
  if (settings.budgets) {
    number("budget", "thinking_budget");
    if ($("effort").value && $("budget").value === "") body.reasoning_effort = $("effort").value;
  }
  return body;
}

// The reply on the page: the thinking, open, then the answer, then what is known of both.
function makeReply() {
  const article = element("article", "assistant");
  const thinking = element("details", "thinking");
  thinking.open = true;
  const title = element("summary", "", "Thinking");
  const text = element("div", "text");
  thinking.append(title, text);
  thinking.hidden = true;
  const answer = element("div", "answer");
  const verdict = element("div", "verdict");
  const counts = element("div", "counts");
  article.append(thinking, answer, verdict, counts);
  $("talk").append(article);
  return { article, thinking, title, text, answer, verdict, counts, thought: "", said: "", usage: null, ended: "" };
}

async function ask(question) {
  if (!question.trim() || stopper) return;
  const body = request(question);
  $("question").value = "";
  $("talk").append(element("article", "user", question));
  $("hint").hidden = true;
  const reply = makeReply();
  stopper = new AbortController();
  $("stop").hidden = false; $("send").disabled = $("offer").disabled = true;
  try {
    await receive(body, reply);
    conversation.push({ role: "user", content: question }, { role: "assistant", content: reply.said });
    if (reply.ended === "stop") await mark(question, reply);
  } catch (error) {
    if (error.name === "AbortError") reply.counts.textContent = "stopped";
    else reply.article.append(element("div", "error", error.message));
  } finally {
    stopper = null;
    $("stop").hidden = true; $("send").disabled = $("offer").disabled = false;
    reply.article.dataset.done = "yes";
    $("question").focus();
  }
}

async function receive(body, reply) {
  const response = await fetch("/v1/chat/completions", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: stopper.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data !== "[DONE]") take(JSON.parse(data), reply);
    }
  }
}

function take(chunk, reply) {
  const atEnd = isAtEnd();
  if (chunk.error) throw new Error(chunk.error.message);
  if (chunk.usage) { reply.usage = chunk.usage; count(reply); }
  for (const choice of chunk.choices) {
    if (choice.delta.reasoning_content) {
      reply.thought += choice.delta.reasoning_content;
      reply.thinking.hidden = false;
      reply.text.textContent = reply.thought;
    }
    if (choice.delta.content) reply.answer.textContent = reply.said += choice.delta.content;
    if (choice.finish_reason) reply.ended = choice.finish_reason;
  }
  keepUp(atEnd);
}

const isAtEnd = () => window.innerHeight + window.scrollY > document.body.scrollHeight - 200;

// Whoever reads at the end of the page stays there as it grows.
function keepUp(atEnd) {
  if (atEnd) window.scrollTo(0, document.body.scrollHeight);
}

function count(reply) {
  const all = reply.usage.completion_tokens, thinking = reply.usage.completion_tokens_details.reasoning_tokens;
  reply.title.textContent = `Thinking · ${thinking} tokens`;
  const cut = reply.ended === "length" ? ", cut off" : "";
  reply.counts.textContent = `${reply.usage.prompt_tokens} prompt tokens, ${all} completion tokens, ${thinking} of them thinking${cut}`;
}

async function mark(question, reply) {
  const response = await fetch("/page/marks", {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ question, thinking: reply.thought, answer: reply.said }),
  });
  const marks = response.ok ? await response.json() : null;
  if (!marks) return;
  const atEnd = isAtEnd();
  reply.verdict.classList.add(marks.correct ? "right" : "wrong");
  reply.verdict.textContent = marks.correct ? "✓ right" : `✗ wrong: ${marks.reason}`;
  if (marks.lines.length && !marks.unmarked) reply.text.replaceChildren(...marks.lines.map(markedLine));
  keepUp(atEnd);
}

function markedLine(line) {
  const made = element("div", "line");
  if (line.attempt) {
    made.append(element("span", `attempt ${line.attempt.correct ? "right" : "wrong"}`, `attempt ${line.attempt.number} ${line.attempt.correct ? "✓" : "✗"}`));
  }
  for (const piece of line.pieces) {
    if (piece.correct === null) { made.append(piece.text); continue; }
    const step = element("span", `step ${piece.correct ? "right" : "wrong"}`);
    step.append(element("span", "sum", piece.text), element("span", "mark", piece.correct ? "✓" : "✗"));
    made.append(step);
    if (piece.should_be) made.append(element("span", "should", piece.should_be === "undefined" ? " undefined" : ` is ${piece.should_be}`));
  }
  if (line.redo) made.append(element("span", "redo", ` (${line.redo})`));
  return made;
}

setUp();
