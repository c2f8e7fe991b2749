/* Where would you look? Marks on an ECG, scored against the answer key by the trial that maps go through.

EcgGame.excess(marks, key)  excess mass of marks [[from, to], ...] in seconds, as ecgstudy/explain/trials.py has it;
                            key is {fs, samples, edges}: where the evidence begins and ends, in samples
EcgGame.results(text)       the rounds' scores of every result that a text holds */

(function () {
  "use strict";
  const { make, field } = EcgData;
  const root = document.getElementById("ecg-game"), teacher = document.getElementById("ecg-class");
  const folder = new URL("game/", document.currentScript.src).href, TITLE = "Where would you look?";
  const scores = [], ofSystems = [], parts = {};
  let about, round = 0, data, marks = [], chart;

  // --- the trial -----------------------------------------------------------------------------------------------------

  function marked(found, { fs, samples }) {
    const made = new Uint8Array(samples);
    for (const [begin, end] of found) {
      const first = Math.min(Math.floor(begin * fs + 0.5), samples - 1);
      made.fill(1, first, Math.max(Math.floor(end * fs + 0.5), first + 1));
    }
    return made;
  }

  function evidence({ samples, edges }) {
    const inside = new Uint8Array(samples);
    for (let i = 0; i < edges.length; i += 2) inside.fill(1, edges[i], edges[i + 1]);
    return inside;
  }

  function excess(found, key, shift = 0) {
    const map = marked(found, key), n = key.samples, inside = evidence(key);
    const silent = !map.includes(1); // nothing marked points nowhere, as a level map does
    let all = 0, hit = 0, size = 0;
    for (let i = 0; i < n; i++) {
      const value = silent ? 1 : map[(i + shift) % n];
      all += value;
      hit += value * inside[i];
      size += inside[i];
    }
    const share = size / n;
    return size && share <= 0.9 ? (hit / all - share) / (1 - share) : NaN;
  }

  function results(text) {
    const one = /where would you look\?((?:\s+[-−]?\d+\.\d+){2,})/gi, all = [];
    const read = (number) => Number(number.replace("−", "-"));
    for (const [, numbers] of text.matchAll(one)) all.push(numbers.trim().split(/\s+/).map(read));
    return all;
  }

  window.EcgGame = { excess, results };
  if (!root) return;

  // --- the page ------------------------------------------------------------------------------------------------------

  const number = (value) => value.toFixed(2).replace(/^-0\.00$/, "0.00").replace("-", "−");
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function button(text, parent, action, first) {
    const one = make("button", first ? "ecg-button ecg-first" : "ecg-button", parent, text);
    one.type = "button";
    one.addEventListener("click", action);
    return one;
  }

  function table(parent, caption, head, rows) {
    const one = EcgData.table(caption, parent), top = make("tr", "", make("thead", "", one)), body = make("tbody", "", one);
    for (const word of head) make("th", "", top, word).scope = "col";
    for (const [name, ...cells] of rows) {
      const row = make("tr", "", body);
      make("th", "", row, name).scope = "row";
      for (const cell of cells) {
        const { text, bar } = typeof cell === "number" ? { text: number(cell), bar: cell } : { text: cell, ...cell };
        const place = make("td", "", row, text);
        if (bar !== undefined) make("span", "ecg-bar", place).style.width = `${Math.max(0, 5 * bar)}rem`;
      }
    }
    return one;
  }

  function begin() {
    root.replaceChildren();
    parts.title = make("p", "ecg-round", root);
    parts.title.tabIndex = -1;
    parts.asked = make("p", "", root);
    parts.chart = make("div", "", root);
    parts.said = make("p", "ecg-said", root);
    parts.said.setAttribute("role", "status");
    parts.controls = make("div", "ecg-controls", root);
    parts.after = make("div", "", root);
    parts.source = make("p", "ecg-source", root);
    return play(0);
  }

  async function play(next) {
    round = next;
    data = await EcgData.load(folder, `round-${round}`);
    marks = [];
    const one = about.rounds[round], others = one.findings.filter((name) => name !== one.finding);
    parts.title.textContent = `Round ${round + 1} of ${about.rounds.length}: ${one.words} (${one.finding})`;
    parts.asked.textContent = `${one.definition}${others.length ? ` This ECG also has ${others.join(" and ")}.` : ""} `
      + `Mark where the evidence of ${one.finding} is: drag over the time of each place. Click on a mark to remove it. `
      + "The strip below the leads shows the whole record: drag its frame to see the rest.";
    parts.source.textContent = `ECG: ${one.source}.`;
    parts.after.replaceChildren();
    parts.controls.replaceChildren();
    parts.undo = button("Undo", parts.controls, () => change(marks.slice(0, -1)));
    parts.clear = button("Clear", parts.controls, () => change([]));
    parts.score = button("Score my marks", parts.controls, score, true);
    const options = {
      fs: data.fs, leads: data.leads, signals: EcgData.signals(data), map: null, key: null, marks, mode: "mark",
      label: `ECG of round ${round + 1}, to be marked. ${one.words}.`,
      onmark: (mark) => change([...marks, mark]),
      onclick: (t) => change(marks.filter(([from, to]) => t < from || t > to)),
    };
    if (chart) chart.update(options);
    else chart = EcgChart.create(parts.chart, options);
    change([]);
  }

  function change(now) {
    if (scores.length > round) return; // scored
    marks = now;
    chart.update({ marks });
    for (const one of [parts.undo, parts.clear, parts.score]) one.disabled = !marks.length;
    const spans = marks.map(([from, to]) => `${from.toFixed(2)}–${to.toFixed(2)}`).join(", ");
    parts.said.textContent = marks.length ? `Your marks, in seconds: ${spans}` : "Nothing is marked yet.";
  }

  function score() {
    const one = about.rounds[round], key = data.marking, shift = 1 + Math.floor(Math.random() * (key.samples - 1));
    const mine = excess(marks, key), moved = excess(marks, key, shift);
    scores.push(mine);
    ofSystems.push(data.systems.map((system) => system.excess));
    chart.update({ mode: "pan", key: data.key[one.finding], words: { map: "Map", key: "answer key" } });
    parts.controls.replaceChildren();
    const map = marked(marks, key), inside = evidence(key), hit = inside.reduce((a, v, i) => a + v * map[i], 0);
    const held = (100 * hit) / inside.reduce((a, b) => a + b, 0);
    parts.said.textContent = `Your excess mass is ${number(mine)}, where 0 is chance and 1 is perfect. `
      + `Your marks hold ${held.toFixed(0)} % of the evidence.`;
    make("p", "", parts.after, `Where the evidence of ${one.finding} is: ${one.evidence}. Leads: ${one.leads}. `
      + "Marks and maps are scored in time, whatever the lead.");
    const said = ({ probability: p, called }) => `${(100 * p).toFixed(0)} %, ${called ? "called" : "not called"}`;
    const rows = [["You", mine, ""], [`Your marks, moved by ${(shift / key.fs).toFixed(1)} s`, moved, ""]];
    rows.push(...data.systems.map((system) => [system.name, system.excess, said(system)]));
    rows.sort((a, b) => b[1] - a[1]);
    const caption = "Excess mass of your marks and of the systems' own maps";
    table(parts.after, caption, ["who", "excess mass", "its answer"], rows);
    const select = field("select", "Show the map of", parts.controls);
    select.append(new Option("nobody", ""), ...data.systems.map((system) => new Option(system.name, system.name)));
    select.addEventListener("change", () => {
      const chosen = data.systems.find((system) => system.name === select.value);
      const map = chosen ? { fs: chosen.fs, values: Array.from(EcgChart.bytes(chosen.map)) } : null;
      chart.update({ map, words: { map: `Map of ${select.value}`, key: "answer key" } });
    });
    const last = round + 1 === about.rounds.length;
    button(last ? "See the result" : "Next round", parts.controls, last ? finish : forward, true).focus();
  }

  async function forward() {
    await play(round + 1);
    parts.title.focus();
    parts.title.scrollIntoView({ block: "start" });
  }

  function finish() {
    chart.destroy();
    chart = null;
    root.replaceChildren();
    make("p", "ecg-round", root, `Your mean excess mass is ${number(mean(scores))}.`).tabIndex = -1;
    const systems = about.systems.map((name, i) => [name, ...ofSystems.map((row) => row[i])]);
    const all = [["You", ...scores], ...systems].map(([name, ...row]) => [name, mean(row), ...row.map(number)]);
    all.sort((a, b) => b[1] - a[1]);
    const heads = about.rounds.map((one, i) => `${i + 1}: ${one.finding}`);
    table(root, "Excess mass in all rounds", ["who", "mean", ...heads], all);
    const box = make("div", "ecg-controls", root), text = field("textarea", "Your result, to share", box);
    Object.assign(text, { readOnly: true, rows: 2, cols: 60 });
    const numbers = scores.map((v) => v.toFixed(2)).join(" ");
    text.value = `ecgstudy: ${TITLE.toLowerCase()} ${numbers} (mean ${mean(scores).toFixed(2)})`;
    const copied = make("span", "ecg-said", box);
    copied.setAttribute("role", "status");
    button("Copy", box, () => {
      text.select();
      const said = (done) => { copied.textContent = done ? "Copied." : "Copy it with Ctrl+C."; };
      navigator.clipboard.writeText(text.value).then(() => said(true), () => said(document.execCommand("copy")));
    });
    button("Play again", box, () => {
      scores.length = ofSystems.length = 0;
      begin();
    });
    root.firstChild.focus();
  }

  // --- a class's results ---------------------------------------------------------------------------------------------

  function gather() {
    const box = make("div", "ecg-controls", teacher);
    const text = field("textarea", "Results, pasted one below the other", box);
    const shown = document.createElement("div");
    Object.assign(text, { rows: 5, cols: 60 });
    button("Show the class", box, () => {
      const found = results(text.value).filter((one) => one.length === about.rounds.length);
      shown.replaceChildren();
      const read = found.length === 1 ? "One result." : `${found.length || "No"} results.`;
      make("p", "ecg-said", shown, read).setAttribute("role", "status");
      if (!found.length) return;
      const edges = [-Infinity, 0, 0.2, 0.4, 0.6, 0.8, Infinity], means = found.map(mean);
      const bins = edges.slice(0, -1).map((from, i) => {
        const n = means.filter((v) => v >= from && v < edges[i + 1]).length;
        return [i ? `from ${from.toFixed(1)}` : "below 0", { text: `${n}`, bar: n / found.length }];
      });
      table(shown, "How many readers have which mean", ["mean excess mass", "readers"], bins);
      const rows = about.rounds.map((one, i) => {
        const own = found.map((result) => result[i]).sort((a, b) => a - b), half = own.length / 2;
        const median = (own[Math.floor(half)] + own[Math.ceil(half) - 1]) / 2;
        return [`${i + 1}: ${one.words}`, median, number(own[0]), number(own.at(-1))];
      });
      table(shown, "Excess mass by round", ["round", "median", "lowest", "highest"], rows);
    });
    teacher.append(shown);
  }

  EcgData.load(folder, "game").then((index) => {
    about = index;
    if (teacher) gather();
    return begin();
  }).catch((error) => { root.textContent = `${error.message}: build the book again.`; });
})();
