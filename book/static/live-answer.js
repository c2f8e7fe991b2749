"use strict";
// The answer of the network as bars, one a class, and the sum that makes the answer to one class, for live.js.
//
//   const view = LiveAnswer.create(above, below, onchoose)   elements for bars and sum; onchoose(name of a class)
//   view.show(answer, input, shown)   answer: of LocalEvidence.answer, input: of EcgInput.prepare, shown: a class
//                                     -> {told: what is called, in words, values: the map at the samples}
window.LiveAnswer = (() => {
  const PARTS = { P: "P window", PR: "from P to QRS", QRS: "QRS", ST: "ST", T: "T window", TQ: "from T to P" };

  function make(tag, about, parent, text) {
    const one = document.createElement(tag);
    for (const [name, value] of Object.entries(about)) one.setAttribute(name, value);
    if (text !== undefined) one.textContent = text;
    if (parent) parent.appendChild(one);
    return one;
  }
  const percent = (p) => `${p >= 0.0995 || p === 0 ? Math.round(100 * p) : (100 * p).toFixed(1)}\u00a0%`;
  const signed = (v) => (Math.abs(v) < 0.005 ? "0.00" : `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(2)}`);
  const sigmoid = (z) => 1 / (1 + Math.exp(-z));

  function create(above, below, onchoose) {
    const { classes, words, parts } = EcgInput.constants;
    const box = make("fieldset", { class: "live-answer" }, above);
    make("legend", {}, box, "The answer");
    const rows = classes.map((name) => {
      const label = make("label", { class: "live-class", title: words[name] }, box);
      const input = make("input", { type: "radio", name: "live-class", value: name }, label);
      input.addEventListener("change", () => onchoose(name));
      make("span", { class: "live-name" }, label, name);
      const bar = make("span", { class: "live-bar", "aria-hidden": "true" }, label);
      const fill = make("span", { class: "live-fill" }, bar), border = make("span", { class: "live-border" }, bar);
      return { label, input, fill, border, said: make("span", { class: "live-percent" }, label) };
    });
    const hint = "Choose a class to see its sum and its map. It is called from the line on its bar on.";
    make("p", { class: "live-note" }, box, hint);
    const table = make("table", { class: "live-sum" }, below), caption = make("caption", {}, table);
    const head = make("tr", {}, make("thead", {}, table)), body = make("tbody", {}, table);
    for (const text of ["Part of the beat", "adds"]) make("th", { scope: "col" }, head, text);
    const means = make("p", { class: "live-note" }, below);

    function bars({ probabilities, thresholds, called }, c) {
      rows.forEach(({ label, input, fill, border, said }, k) => {
        fill.style.width = `${100 * probabilities[k]}%`;
        border.style.left = `${100 * thresholds[k]}%`;
        said.textContent = `${percent(probabilities[k])}${called[k] ? ", called" : ""}`;
        label.classList.toggle("live-called", called[k]);
        input.checked = k === c;
      });
      const named = classes.map((_, k) => k).filter((k) => called[k]);
      named.sort((a, b) => probabilities[b] - probabilities[a]);
      return named.map((k) => `${words[classes[k]]} (${classes[k]}, ${percent(probabilities[k])})`).join(", ");
    }

    function term(name, value, widest) {
      const row = make("tr", name === "sum" ? { class: "live-total" } : {});
      make("th", { scope: "row" }, row, name);
      const cell = make("div", { class: "live-cell" }, make("td", {}, row));
      const bar = make("span", { class: "live-term", "aria-hidden": "true" }, cell);
      const fill = make("span", { class: value < 0 ? "live-against" : "live-for" }, bar);
      fill.style.width = `${(50 * Math.abs(value)) / widest}%`;
      make("span", { class: "live-value" }, cell, signed(value));
      return row;
    }

    function show(answer, input, shown) {
      const c = classes.indexOf(shown), told = bars(answer, c) || "none of the nine is called";
      const strength = (one) => one.logits.reduce((sum, own) => sum + sigmoid(own[c]), 0);
      const window = answer.windows.reduce((best, one) => (strength(one) > strength(best) ? one : best));
      const part = input.parts && input.parts.part, sums = part ? parts.map(() => 0) : [0];
      const values = new Float32Array(input.signal[0].length), { first, length } = window;
      window.at.forEach((sample, i) => {
        sums[part ? part[sample] : 0] += window.terms[c][i];
        values.fill(window.terms[c][i], Math.max(sample - 2, first), Math.min(sample + 2, first + length));
      });
      const bias = window.bias[c], logit = sums.reduce((a, b) => a + b, bias);
      const named = sums.map((sum, k) => [part ? PARTS[parts[k]] : "all moments", sum]);
      const all = [["bias", bias], ...named, ["sum", logit]];
      const widest = Math.max(3, ...all.map(([, value]) => Math.abs(value))), several = window.logits.length > 1;
      body.replaceChildren(...all.map(([name, value]) => term(name, value, widest)));
      caption.textContent = `The sum for ${words[shown]} (${shown})${several ? ", mean of the networks" : ""}`;
      means.textContent = `A sum of ${signed(logit)} is a chance of ${percent(sigmoid(logit))}; calibrated`
        + `${several ? ", and averaged over the networks" : ""}, ${percent(answer.probabilities[c])}.`;
      return { told, values };
    }

    return { show };
  }

  return { make, create };
})();
