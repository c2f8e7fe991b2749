/* The explorer: an ECG, a system, a finding, a method; the map over twelve leads, the answers, the answer key.

What is seen stands in the address after #, so that a link leads to it: record, system, finding, method (by their
names), key (1 or 0) and view (from-to in seconds). #chapter=NN_name chooses the system of a chapter. */

(function () {
  "use strict";
  const { make, field } = EcgData;
  const root = document.getElementById("ecg-explorer");
  const folder = new URL("explorer/", document.currentScript.src).href;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const SPEED = 0.5; // seconds of the record a second, when it is played
  let about, state, chart, shown = null, timer = 0, turns = 0;
  const parts = {}; // of the page, by name

  // --- the page ------------------------------------------------------------------------------------------------------

  function choice(name, label, options) {
    const select = (parts[name] = field("select", label, parts.controls));
    fill(name, options);
    select.addEventListener("change", () => go({ [name]: select.value }));
  }

  function fill(name, options) {
    parts[name].replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  }

  function button(name, text, action) {
    const one = (parts[name] = make("button", "ecg-button", parts.controls, text));
    one.type = "button";
    one.addEventListener("click", action);
  }

  function build() {
    root.replaceChildren();
    parts.controls = make("div", "ecg-controls", root);
    choice("record", "ECG", about.records.map((one) => [one.name, one.title]));
    choice("system", "System", about.systems.map((one) => [one.name, one.name]));
    choice("finding", "Finding", about.classes.map((one) => [one.name, `${one.name}: ${one.words}`]));
    choice("method", "Map", []);
    const key = make("label", "ecg-switch", parts.controls);
    parts.key = make("input", "", key);
    parts.key.type = "checkbox";
    key.append("Answer key");
    parts.key.addEventListener("change", () => go({ key: parts.key.checked }));
    button("play", "Play", play);
    button("link", "Copy link", copy);
    parts.copied = make("span", "ecg-said", parts.controls);
    parts.copied.setAttribute("role", "status");
    parts.chart = make("div", "", root);
    parts.window = make("p", "ecg-window", root);
    parts.verdict = make("p", "ecg-verdict", root);
    parts.verdict.setAttribute("aria-live", "polite");
    parts.answers = make("div", "", root);
    parts.source = make("p", "ecg-source", root);
  }

  // --- what is seen --------------------------------------------------------------------------------------------------

  const named = (list, name) => list.find((one) => one.name === name);
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}\u00a0%`;
  const signed = (value) => value.toFixed(2).replace(/^-0\.00$/, "0.00").replace(/^(-?)0/, "$1").replace("-", "−");

  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const record = named(about.records, asked.get("record")) || about.records[0];
    const ofChapter = about.systems.find((one) => one.chapter === asked.get("chapter"));
    const system = named(about.systems, asked.get("system")) || ofChapter || about.systems[0];
    const method = system.methods.includes(asked.get("method")) ? asked.get("method") : system.methods[0];
    const finding = named(about.classes, asked.get("finding")) || { name: record.findings[0] || about.classes[0].name };
    const view = (asked.get("view") || "").split("-").map(Number);
    return {
      record: record.name, system: system.name, finding: finding.name, method, key: asked.get("key") !== "0",
      view: view.length === 2 && view[1] > view[0] ? view : null,
    };
  }

  function address() {
    const { view, key, ...names } = state, fields = new URLSearchParams(names);
    fields.set("key", key ? "1" : "0");
    if (view) fields.set("view", view.map((t) => t.toFixed(2)).join("-"));
    return `#${fields.toString().replace(/\+/g, "%20")}`;
  }

  function keep() {
    history.replaceState(null, "", address());
  }

  function go(changed) {
    const record = named(about.records, changed.record || state.record);
    // Another ECG is shown with what it has.
    const other = changed.record && !record.findings.includes(state.finding);
    if (other) changed.finding = record.findings[0] || state.finding;
    Object.assign(state, changed);
    const { methods } = named(about.systems, state.system);
    if (!methods.includes(state.method)) state.method = methods[0];
    keep();
    return show();
  }

  async function show() {
    const turn = ++turns, i = about.records.findIndex((one) => one.name === state.record);
    const j = about.systems.findIndex((one) => one.name === state.system);
    let record, answers;
    try {
      [record, answers] = await Promise.all([
        EcgData.load(folder, `record-${i}`), EcgData.load(folder, `maps-${i}-${j}`),
      ]);
    } catch (error) {
      parts.verdict.textContent = `${error.message}: build the book again.`;
      return;
    }
    if (turn !== turns) return; // the reader has gone on
    shown = { record, answers, about: about.records[i], system: about.systems[j] };
    draw();
  }

  function draw() {
    const { record, answers, system } = shown, c = about.classes.findIndex((one) => one.name === state.finding);
    fill("method", system.methods.map((name) => [name, name]));
    for (const name of ["record", "system", "finding", "method"]) parts[name].value = state[name];
    const key = record.key[state.finding];
    parts.key.checked = state.key && Boolean(key);
    parts.key.disabled = !key;
    shown.map = values(answers.maps[state.method], c);
    const options = {
      fs: record.fs, leads: record.leads, signals: EcgData.signals(record), map: { fs: answers.fs, values: shown.map },
      key: state.key && key ? key : null, words: { map: `Map of ${state.finding}`, key: "answer key" },
      label: `${shown.about.title}. Map of ${state.finding} by ${state.system}, ${state.method}.`,
    };
    if (state.view) options.view = state.view;
    if (chart) chart.update(options);
    else chart = EcgChart.create(parts.chart, { ...options, onview: moved });
    tell(answers, c, key);
    table(answers);
    share();
  }

  function moved(view) {
    state.view = view;
    keep();
    share();
  }

  function values(map, c) {
    const all = EcgChart.bytes(map.values), n = all.length / map.rows / map.leads, row = map.rows > 1 ? c : 0;
    const lead = (_, i) => Array.from(all.subarray((row * map.leads + i) * n, (row * map.leads + i + 1) * n));
    const leads = Array.from({ length: map.leads }, lead);
    return map.leads > 1 ? leads : leads[0];
  }

  function tell(answers, c, key) {
    const { system, about: record } = shown, has = record.findings.includes(state.finding);
    const calls = answers.called[c] ? "calls it" : "does not call it";
    let text = `${system.name} gives ${state.finding} ${percent(answers.probabilities[c])} and ${calls}. `;
    text += `The record ${has ? "has" : "does not have"} it. `;
    const score = (answers.maps[state.method].scores || [])[c];
    if (!shown.map.flat().some((v) => v > 0)) text += "The map has no positive part: it points nowhere.";
    else if (key && score) {
      text += `${percent(score[0])} of the map lies on the evidence, which takes ${percent(score[1])} of the time: `;
      text += `an excess mass of ${signed(score[2])}, where 0 is chance and 1 is perfect.`;
    } else if (has && key) text += "The key fills nearly all of the time, so that the map is not scored.";
    else if (has) text += "Nobody has marked where its evidence is.";
    parts.verdict.textContent = text;
    const some = answers.seen < system.members ? `${answers.seen} of its ${system.members} networks have` : "It has";
    const rest = answers.seen < system.members ? "; the others answer" : "";
    const seen = answers.seen ? ` ${some} learned from this record${rest}.` : "";
    parts.source.textContent = `ECG: ${record.source}. ${system.name} was trained on ${system.trained}.${seen}`;
  }

  function table(answers) {
    parts.answers.replaceChildren();
    const body = EcgData.table(`What ${state.system} answers: calibrated probabilities`, parts.answers);
    const head = make("tr", "", make("thead", "", body));
    const words = ["finding", "probability", "called from", "called", "in the record"];
    for (const word of words) make("th", "", head, word).scope = "col";
    const rows = make("tbody", "", body);
    about.classes.forEach((one, c) => {
      const row = make("tr", one.name === state.finding ? "ecg-chosen" : "", rows);
      const head = make("th", "", row, one.name);
      head.scope = "row";
      make("span", "ecg-words", head, `: ${one.words}`);
      const p = make("td", "", row, percent(answers.probabilities[c]));
      make("span", "ecg-bar", p).style.width = `${(5 * answers.probabilities[c]).toFixed(2)}rem`;
      make("td", "", row, percent(answers.thresholds[c]));
      make("td", "", row, answers.called[c] ? "yes" : "no");
      make("td", "", row, shown.about.findings.includes(one.name) ? "yes" : "no");
    });
  }

  // --- the window that slides ----------------------------------------------------------------------------------------

  function share() {
    const [from, to] = chart.view, fs = shown.answers.fs;
    const leads = typeof shown.map[0] === "number" ? [shown.map] : shown.map;
    let inside = 0, all = 0;
    for (const row of leads) row.forEach((v, i) => { all += v; if (i / fs >= from && i / fs < to) inside += v; });
    const time = `${percent((to - from) / chart.seconds)} of the time`, part = all ? percent(inside / all) : "nothing";
    parts.window.textContent = `Window from ${from.toFixed(1)} to ${to.toFixed(1)} s: ${part} of the map in ${time}.`;
  }

  function play() {
    if (timer) return stop();
    parts.play.textContent = "Pause";
    const span = Math.min(chart.view[1] - chart.view[0], chart.seconds / 2);
    let from = chart.view[1] > chart.seconds - 0.05 ? 0 : chart.view[0], last = performance.now();
    const step = (by) => {
      from = Math.min(from + by, chart.seconds - span);
      state.view = [from, from + span];
      chart.update({ view: state.view });
      share();
      if (from >= chart.seconds - span) stop();
    };
    const frame = (now) => {
      timer = requestAnimationFrame(frame);
      step(((now - last) / 1000) * SPEED);
      last = now;
    };
    if (calm.matches) timer = setInterval(() => step(span / 2), 1500); // in jumps, without motion
    else timer = requestAnimationFrame(frame);
  }

  function stop() {
    cancelAnimationFrame(timer);
    clearInterval(timer);
    timer = 0;
    parts.play.textContent = "Play";
    keep();
  }

  function copy() {
    keep();
    const done = () => { parts.copied.textContent = "Link copied."; };
    navigator.clipboard.writeText(location.href).then(done, () => { parts.copied.textContent = location.href; });
  }

  EcgData.load(folder, "index").then((index) => {
    about = index;
    state = read();
    build();
    window.addEventListener("hashchange", () => { state = read(); show(); });
    return show();
  }).catch((error) => { root.textContent = `${error.message}: build the book again.`; });
})();
