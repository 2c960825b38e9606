// One trial, lit up everywhere: in the tables and in the plots, whose lines carry its number in their ids.
"use strict";
const numberOf = (element) => {
  const row = element.closest("[data-trial]");
  if (row) return row.dataset.trial;
  const line = element.closest('[id*="trial-"]');
  return line ? line.id.match(/trial-(\d+)-/)[1] : null;
};
let kept = null; // the trial that was clicked, which stays
const light = (trial) => {
  for (const old of document.querySelectorAll(".lit")) old.classList.remove("lit");
  for (const figure of document.querySelectorAll(".lines")) figure.classList.toggle("dimmed", trial !== null);
  if (trial === null) return;
  for (const row of document.querySelectorAll(`[data-trial="${trial}"]`)) row.classList.add("lit");
  for (const line of document.querySelectorAll(`[id$="trial-${trial}-line"]`)) line.classList.add("lit");
};
document.addEventListener("pointerover", (event) => light(numberOf(event.target) ?? kept));
document.addEventListener("click", (event) => {
  const trial = numberOf(event.target);
  kept = trial === kept ? null : trial;
  light(kept);
});
