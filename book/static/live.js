"use strict";
// The page with the network in it: sliders or a file make an ECG, the chart shows it, the network reads it, and the
// page shows the answer, the sum behind it and the map. Everything is computed here, by heart.js, ecg-files.js,
// ecg-input.js, local-evidence.js and ecg-chart.js, with the scripts under live/ that ecgstudy/book/live.py writes.
(() => {
  const root = document.getElementById("live");
  if (!root) return;
  const BASE = document.currentScript.src.replace(/[^/]*$/, "");
  const { make } = LiveAnswer, { classes, leads, fs, shortest, networks } = EcgInput.constants;
  const { sliders, typical, tries } = ModelHeart.constants;
  const PULL = "the beat that you can pull to the left";
  const FORMS = { normal: "normal", RBBB: "right bundle branch block", LBBB: "left bundle branch block" };
  const ORIGINS = { atria: "the atria", ventricles: "the ventricles" };
  const state = { settings: { ...typical.normal }, file: null, network: "simulated", shown: "NSR", answer: null };
  const at = {}; // elements, by what they are
  const drawn = leads.map(() => new Float32Array(Math.round(ModelHeart.constants.seconds * fs)));
  let chart = null, due = 0, later = 0, heart = null;

  function load(name) { // a script of numbers, once
    const there = root.querySelector(`script[data-name="${name}"]`);
    if (there) return there.loading;
    const script = make("script", { src: `${BASE}live/${name}.js`, "data-name": name });
    script.loading = new Promise((resolve, reject) => {
      script.onload = resolve;
      const remedy = `live/${name}.js of this book is missing: build the book again`;
      script.onerror = () => reject(new EcgFiles.Unreadable(remedy));
    });
    root.appendChild(script);
    return script.loading;
  }

  // --- what is on the page ------------------------------------------------------------------------------------------

  function choice(parent, id, text, options, onchange) {
    make("label", { for: `live-${id}` }, parent, text);
    const select = make("select", { id: `live-${id}` }, parent);
    for (const [value, name] of Object.entries(options)) make("option", { value }, select, name);
    select.addEventListener("change", () => onchange(select.value));
    at[id] = select;
  }

  function button(parent, text, onclick) {
    const one = make("button", { type: "button", class: "ecg-button" }, parent, text);
    one.addEventListener("click", onclick);
    return one;
  }

  function slider(parent, id, [name, unit, , low, high, step]) {
    const row = make("div", { class: "live-slider" }, parent);
    make("label", { for: `live-${id}` }, row, name);
    const said = make("output", { for: `live-${id}` }, row);
    const input = make("input", { type: "range", id: `live-${id}`, min: low, max: high, step }, row);
    input.addEventListener("input", () => {
      state.settings[id] = Number(input.value) / sliders[id][2];
      redraw();
    });
    at[id] = { input, said, unit };
  }

  function build() {
    const paper = make("div", { class: "live-chart" }, root);
    at.said = make("p", { class: "live-said" }, root);
    at.status = make("p", { class: "ecg-hidden", role: "status" }, root);
    const columns = make("div", { class: "live-columns" }, root);
    const [answer, ecg, sum, file] = ["answer", "ecg", "sum", "file"].map((area) =>
      make("div", { class: `live-area-${area}` }, columns));
    const asked = make("div", { class: "ecg-controls live-network" }, answer);
    choice(asked, "network", "Network", networks, ask);
    at.answer = LiveAnswer.create(answer, sum, (name) => { state.shown = name; show(); });
    buildHeart(ecg);
    buildFile(file);
    chart = EcgChart.create(paper, { fs, leads, signals: drawn });
    window.LiveChart = chart; // for whoever wants to know where a moment stands
    grab(paper);
  }

  function buildHeart(parent) {
    const box = at.heart = make("fieldset", { class: "ecg-controls live-heart" }, parent);
    make("legend", {}, box, "Change the ECG");
    const choose = (id, name, options) => {
      const row = make("div", { class: "live-choice" }, box);
      choice(row, id, name, options, (value) => {
        state.settings[id] = value;
        if (id === "form") state.settings.qrs = typical[value].qrs;
        redraw();
      });
    };
    for (const [id, about] of Object.entries(sliders)) {
      if (id === "qrs") choose("form", "Form of the QRS", FORMS);
      slider(box, id, about);
      if (id === "early") choose("origin", "It comes from", ORIGINS);
    }
    button(box, "Typical heart", () => set(typical.normal));
  }

  function buildFile(parent) {
    const box = make("fieldset", { class: "ecg-controls live-file" }, parent);
    make("legend", {}, box, "Or read your own ECG");
    const what = "Choose or drop a CSV whose header names the leads, or a WFDB pair (.hea and .dat).";
    make("p", {}, box, `${what} Nothing leaves this page.`);
    const about = { type: "file", id: "live-file", multiple: "", accept: ".csv,.txt,.tsv,.hea,.dat,.mat" };
    make("label", { for: "live-file" }, box, "Files of one record");
    at.file = make("input", about, box);
    at.file.addEventListener("change", () => open(at.file.files));
    at.asked = make("div", { class: "live-asked", hidden: "" }, box);
    make("label", { for: "live-hz" }, at.asked, "Samples a second");
    at.hz = make("input", { type: "number", id: "live-hz", min: 50, max: 10000, step: "any" }, at.asked);
    choice(at.asked, "unit", "Unit of the values", { 1: "mV", 0.001: "µV" }, () => {});
    button(at.asked, "Read it", () => at.take());
    button(box, "A real ECG", () => trying(async () => {
      await load("example");
      const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      await open(window.ECG_EXAMPLE.map(([name, text]) => new File([bytes(text)], name)));
    }));
    at.back = button(box, "Back to the model heart", () => set(state.settings));
    at.error = make("p", { class: "live-error", role: "alert" }, box);
    for (const kind of ["dragenter", "dragover"]) {
      root.addEventListener(kind, (event) => { event.preventDefault(); root.classList.add("live-over"); });
    }
    for (const kind of ["dragleave", "drop"]) root.addEventListener(kind, () => root.classList.remove("live-over"));
    root.addEventListener("drop", (event) => { event.preventDefault(); open(event.dataTransfer.files); });
  }

  // --- pulling a beat -----------------------------------------------------------------------------------------------

  function grab(paper) {
    let held = null;
    const near = (event) => {
      if (state.file || !heart || chart.canvas.style.touchAction === "none") return null; // the calipers have it
      const box = chart.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      const { onset } = heart.beats.find((beat) => beat.movable), middle = onset + state.settings.qrs / 2;
      const [from, to] = chart.view;
      if (y > box.height - 56 || middle < from || middle > to) return null; // the overview below the leads
      const places = ["II", "V5"].map((lead) => chart.place(middle, lead).x);
      return places.some((place) => Math.abs(place - x) < 18) ? chart.place(1, "II").x - chart.place(0, "II").x : null;
    };
    const stop = (event) => { event.stopPropagation(); event.preventDefault(); };
    paper.addEventListener("pointerdown", (event) => {
      const second = event.button ? null : near(event);
      if (second === null || event.target !== chart.canvas) return;
      stop(event);
      paper.setPointerCapture(event.pointerId);
      held = { id: event.pointerId, x: event.clientX, second, early: state.settings.early };
    }, true);
    paper.addEventListener("pointermove", (event) => {
      if (!held) paper.classList.toggle("live-near", near(event) !== null);
      if (!held || held.id !== event.pointerId) return;
      stop(event);
      const moved = (held.x - event.clientX) / held.second / (60 / state.settings.rate);
      const [, , factor, low, high] = sliders.early;
      state.settings.early = Math.min(Math.max(Math.round((held.early + moved) * factor), low), high) / factor;
      redraw();
    }, true);
    for (const kind of ["pointerup", "pointercancel"]) paper.addEventListener(kind, () => { held = null; });
  }

  // --- files --------------------------------------------------------------------------------------------------------

  async function trying(work) {
    at.error.textContent = "";
    try {
      await work();
    } catch (error) {
      if (!(error instanceof EcgFiles.Unreadable)) throw error;
      at.error.textContent = `${error.message}.`;
    }
  }

  const open = (files) => trying(async () => {
    const record = await EcgFiles.read(files);
    at.asked.hidden = record.fs !== null && record.unit !== null;
    if (at.asked.hidden) return take(record, record.fs, 1);
    const spans = record.leads.map((lead) => lead.reduce((a, v) => Math.max(a, Math.abs(v) || 0), 0));
    at.unit.value = spans.sort((a, b) => a - b)[6] > 20 ? "0.001" : "1";
    [[at.hz, record.fs], [at.unit, record.unit]].forEach(([field, known]) => {
      field.hidden = field.labels[0].hidden = known !== null;
    });
    at.hz.value = record.fs ?? "";
    at.error.textContent = `${record.name} does not state ${[[record.fs, "its rate"], [record.unit, "its unit"]]
      .filter(([known]) => known === null).map(([, what]) => what).join(" and ")}: say it here.`;
    const rate = () => record.fs ?? Number(at.hz.value), scale = () => (record.unit ? 1 : Number(at.unit.value));
    at.take = () => trying(() => take(record, rate(), scale()));
    (record.fs === null ? at.hz : at.unit).focus();
    return null;
  });

  async function take({ name, leads: values }, rate, scale) {
    if (!(rate >= 50 && rate <= 10000)) {
      const stated = `${name} cannot have ${rate || "no"} samples a second`;
      throw new EcgFiles.Unreadable(`${stated}: give a rate from 50 to 10,000`);
    }
    if (values[0].length < shortest * rate) {
      const stated = `${name} lasts ${(values[0].length / rate).toFixed(1)} s, and the network needs ${shortest} s`;
      throw new EcgFiles.Unreadable(`${stated}: export a longer stretch`);
    }
    const signals = values.map((lead) => lead.map((v) => v * scale));
    await load("real");
    at.asked.hidden = true;
    state.file = { name, input: EcgInput.prepare(signals, rate) };
    state.network = "real";
    const { probabilities, thresholds } = LocalEvidence.answer("real", state.file.input);
    const most = probabilities.map((p, c) => p / thresholds[c]);
    state.shown = classes[most.indexOf(Math.max(...most))];
    chart.update({ fs: rate, signals, key: null, map: null, label: `12-lead ECG of ${name}` });
    redraw();
    root.scrollIntoView({ block: "start" });
  }

  const ask = (name) => trying(async () => {
    if (name === "real") await load("real");
    state.network = name;
    redraw();
  });

  function set(settings, about) {
    state.settings = { ...settings };
    if (about) state.shown = about;
    state.file = null;
    state.network = "simulated";
    at.error.textContent = at.file.value = "";
    at.asked.hidden = true;
    redraw();
  }

  // --- answer -------------------------------------------------------------------------------------------------------

  const redraw = () => { due = due || requestAnimationFrame(compute); };

  function compute() {
    due = 0;
    const begun = performance.now();
    let input = state.file && state.file.input;
    if (!input) {
      heart = ModelHeart.draw(state.settings);
      input = EcgInput.prepare(heart.signal, fs);
    }
    const prepared = performance.now();
    state.answer = LocalEvidence.answer(state.network, input);
    state.input = input;
    root.dataset.ms = `${(prepared - begun).toFixed(1)} ${(performance.now() - prepared).toFixed(1)}`;
    if (!state.file) {
      const { onset } = heart.beats.find((beat) => beat.movable);
      drawn.forEach((lead, l) => lead.set(heart.signal[l])); // the same arrays: the chart's view stays where it is
      chart.update({
        fs, signals: drawn, key: [{ leads, spans: [[onset, onset + state.settings.qrs]] }],
        label: "12-lead ECG of the model heart", words: { key: PULL },
      });
    }
    for (const [id, value] of Object.entries(state.settings)) {
      if (!sliders[id]) at[id].value = value;
      else {
        const shown = Number((value * sliders[id][2]).toFixed(2));
        at[id].input.value = shown;
        at[id].said.textContent = `${shown} ${at[id].unit}`.replace("-", "−");
        at[id].input.setAttribute("aria-valuetext", at[id].said.textContent);
      }
    }
    at.network.value = state.network;
    at.back.hidden = !state.file;
    at.heart.disabled = Boolean(state.file);
    root.classList.toggle("live-reads-file", Boolean(state.file));
    show();
  }

  function show() {
    const title = state.file ? state.file.name : "The model heart";
    const { told, values } = at.answer.show(state.answer, state.input, state.shown);
    at.said.textContent = `${title}: ${told}.`;
    clearTimeout(later);
    later = setTimeout(() => { at.status.textContent = at.said.textContent; }, 500); // not at each step of a slider
    chart.update({ map: { fs, values }, words: { map: `For ${state.shown}`, key: PULL } });
  }

  build();
  compute();
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-try]").forEach((button) => {
    const { about, settings } = tries[Number(button.dataset.try)];
    button.hidden = false;
    button.addEventListener("click", () => {
      set(settings, about);
      root.scrollIntoView({ block: "start" });
      root.focus({ preventScroll: true });
    });
  }));
})();
