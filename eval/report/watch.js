// Asks how the run stands, and loads its report where that is a new one, at the place that was being read.
"use strict";
(() => {
  const EVERY = 2000;
  const frame = document.getElementById("report"), words = document.getElementById("words");
  let version = "0";

  function load(newest) {
    const place = version === "0" ? 0 : frame.contentWindow.scrollY;
    version = newest;
    frame.onload = () => frame.contentWindow.scrollTo(0, place);
    frame.src = `/report.html?${newest}`;
  }

  async function look() {
    try {
      const state = await (await fetch("/state", { cache: "no-store" })).json();
      words.textContent = state.failure && state.version === "0" ? `${state.words}. ${state.failure}` : state.words;
      if (state.version !== version) load(state.version);
    } catch (error) {
      words.textContent = "scripts/watch.py has ended";
    }
    setTimeout(look, EVERY);
  }
  look();
})();
