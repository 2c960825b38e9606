// The trace explorer: inflates the page's rollouts, filters them, and shows ten at a time. The format is that of
// explorer.py; whatever a model wrote reaches the page as text, never as HTML.
"use strict";
(async () => {
  const PAGE = 10, SIDE = 4;
  const LINE = "\x01", FIELD = "\x02", RIGHT = "\x03", WRONG = "\x04", VALUE = "\x05", END = "\x06";
  const root = document.getElementById("explorer");
  const say = document.getElementById("explorer-count");

  let data;
  try {
    const bytes = Uint8Array.from(atob(document.getElementById("rollouts").textContent.trim()), c => c.charCodeAt(0));
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    data = JSON.parse(await new Response(inflated).text());
  } catch (error) {
    say.textContent = `The rollouts cannot be unpacked in this browser (${error.message}).`;
    return;
  }
  const filters = Object.fromEntries([...root.querySelectorAll("[data-filter]")].map(e => [e.dataset.filter, e]));
  const shown = document.getElementById("explorer-rollouts");
  const turn = [...root.querySelectorAll("[data-turn]")];
  let found = [], page = 0;

  function element(tag, name, ...children) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...children);
    return made;
  }

  function mark(right) {
    const made = element("span", `mark ${right ? "right" : "wrong"}`, right ? "✓" : "✗");
    made.setAttribute("aria-label", right ? "right" : "wrong");
    return made;
  }

  function pieces(text) {
    return text.split(new RegExp(`([${RIGHT}${WRONG}][^${END}]*${END})`)).filter(Boolean).flatMap(part => {
      if (part[0] === RIGHT) return [element("span", "step right", part.slice(1, -1), mark(true))];
      if (part[0] !== WRONG) return [part];
      const [step, value] = part.slice(1, -1).split(VALUE);
      return [element("span", "step wrong", step, mark(false)),
              element("span", "should", value === "undefined" ? value : `is ${value}`)];
    });
  }

  function line(packed) {
    const [head, redo, misjudged, text] = packed.split(FIELD);
    const gutter = element("span", "gutter");
    if (head) gutter.append(element("span", "word", "attempt"), ` ${head.slice(0, -1)} `, mark(head.endsWith("+")));
    const body = element("span", "text");
    if (redo) body.append(element("span", "redoes", `⤷ ${redo}`), " ");
    body.append(...pieces(text));
    if (misjudged) body.append(" ", element("span", "misjudged", `misjudged: it said ${misjudged}`));
    return element("div", redo ? "line redo" : "line", gutter, body);
  }

  function rollout(i) {
    const right = data.flags[i] & 1;
    const answering = data.answering[i] < 0 ? "" : ` + ${data.answering[i]} answer`;
    const behaviours = data.behaviours.filter((_, k) => data.flags[i] >> (k + 1) & 1);
    const header = element("header", "",
      element("span", "who", data.origins[data.origin[i]]),
      element("span", "outcome", mark(right), ` ${right ? "" : "wrong: "}${data.reasons[data.reason[i]]}`),
      ...behaviours.map(name => element("span", "behaviour", name)),
      element("span", "tokens", `${data.thinking[i]} thinking${answering} tokens`));
    const lines = data.lines[i] ? data.lines[i].split(LINE).map(line) : [element("p", "unmarked", "no thinking")];
    const answer = element("div", "answer", element("span", "gutter", "answer"),
      element("span", "text", data.answer[i] || "none", " ", mark(right)));
    return element("article", `rollout ${right ? "good" : "bad"}`, header, element("div", "thinking", ...lines), answer);
  }

  function problem(p) {
    const [task, prompt] = data.problems[p];
    return element("p", "problem", element("span", "task", task), ` ${prompt}`);
  }

  function single(i) {
    const both = element("button", "", "before and after");
    both.onclick = () => compare(data.problem[i]);
    const head = problem(data.problem[i]);
    head.append(" ", both);
    return element("div", "example", head, rollout(i));
  }

  // One problem's rollouts side by side: those of the earliest and of the latest place where it was asked. Held-out
  // checkpoints stand first in `origins`, before the steps, so that they are compared with each other where there are any.
  function compare(p) {
    const all = [];
    data.problem.forEach((of, i) => { if (of === p) all.push(i); });
    const evaluated = all.filter(i => data.origins[data.origin[i]].startsWith("held-out, "));
    const asked = evaluated.length ? evaluated : all;
    const origins = [...new Set(asked.map(i => data.origin[i]))];
    const ends = origins.length > 1 ? [origins[0], origins[origins.length - 1]] : origins;
    const sides = ends.map(origin => {
      const here = asked.filter(i => data.origin[i] === origin);
      const right = here.filter(i => data.flags[i] & 1).length;
      return element("div", "side",
        element("h3", "kind", data.origins[origin], element("span", "", `${right} of ${here.length} right` +
          (here.length > SIDE ? `, the first ${SIDE} shown` : ""))),
        ...here.slice(0, SIDE).map(rollout));
    });
    if (ends.length < 2) sides.push(element("p", "unmarked", "This problem was asked at no other step."));
    const back = element("button", "", "← back to the list");
    back.onclick = show;
    shown.replaceChildren(back, problem(p), element("div", "sides", ...sides));
    turn.forEach(button => { button.disabled = true; });
  }

  function select() {
    const origin = filters.origin.value, behaviour = filters.behaviour.value, outcome = filters.outcome.value;
    const words = filters.problem.value.trim().toLowerCase();
    const asked = data.problems.map(([task, prompt]) => `${task} ${prompt}`.toLowerCase().includes(words));
    found = [];
    for (let i = 0; i < data.flags.length; i++) {
      if (origin !== "" && data.origin[i] !== Number(origin)) continue;
      if (outcome !== "" && (data.flags[i] & 1) !== Number(outcome)) continue;
      if (behaviour !== "" && !(data.flags[i] >> (Number(behaviour) + 1) & 1)) continue;
      if (asked[data.problem[i]]) found.push(i);
    }
    page = 0;
    show();
  }

  function show() {
    const right = found.filter(i => data.flags[i] & 1).length, pages = Math.max(1, Math.ceil(found.length / PAGE));
    const share = found.length ? `, ${(100 * right / found.length).toFixed(1)}% of them right` : "";
    say.textContent = `${found.length.toLocaleString("en")} of ${data.flags.length.toLocaleString("en")} rollouts` +
      `${share} · page ${(page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    turn.forEach(button => { const to = page + Number(button.dataset.turn); button.disabled = to < 0 || to >= pages; });
    shown.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(single));
  }

  data.origins.forEach((name, i) => filters.origin.append(new Option(name, i)));
  data.behaviours.forEach((name, i) => filters.behaviour.append(new Option(name, i)));
  Object.values(filters).forEach(filter => filter.addEventListener("input", select));
  turn.forEach(button => { button.onclick = () => { page += Number(button.dataset.turn); show(); }; });
  root.hidden = false;
  select();
})();
