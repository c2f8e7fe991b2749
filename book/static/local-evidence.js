"use strict";
// The study's own network in the page: the forward pass of ecgstudy/systems/local_evidence.py, its arithmetic in double
// precision. Weights are written at build (ecgstudy/book/live.py), batch normalisation folded into the convolutions.
// tests/test_live.py compares with torch.
//
//   LocalEvidence.register(name, about)  what a file of weights calls: layers, weights (base64 of float32, one for each
//                                        member), calibration {slope, intercept} and thresholds of the nine classes
//   LocalEvidence.answer(name, input)    input: of EcgInput.prepare
//                                        -> {probabilities, members, thresholds, called, windows}, and of windows[k]
//     logits      [member][class]
//     bias, terms [class] and [class] Float32Array of cells: means over the members, whose sum is the mean logit
//     at          sample of the record in the middle of each cell; first, length: samples of the record in the window
window.LocalEvidence = (() => {
  const networks = {}, STRIDE = 4, LEADS = 12, INTERVALS = 6;

  function floats(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    const view = new DataView(bytes.buffer);  // little-endian on every machine
    return Float32Array.from({length: bytes.length / 4}, (_, i) => view.getFloat32(4 * i, true));
  }

  // Weights of each layer as rows of (kernel, channels), as many as a multiple of four, for ``convolve``.
  function unpacked(base64, layers) {
    const numbers = floats(base64);
    let at = 0;
    const take = (count) => numbers.subarray(at, at += count);
    const parts = {};
    for (const {part, filters, channels, kernel, stride} of layers) {
      const width = channels * kernel, weights = new Float64Array(4 * Math.ceil(filters / 4) * width);
      weights.set(take(filters * width));
      const bias = new Float64Array(4 * Math.ceil(filters / 4));
      bias.set(take(filters));
      (parts[part] ||= []).push({filters, channels, kernel, stride, weights, bias});
    }
    const classes = parts.head[0].filters;
    return {...parts, sharpness: take(classes), gain: take(classes), bias: take(classes)};
  }

  // x: (samples, channels), one row after the other, and so is the result, whose channels are a multiple of four. Two
  // cells and four filters at once, whose sums stay in registers.
  function convolve(x, {filters, channels, kernel, stride, weights, bias}, linear) {
    const pad = kernel >> 1, samples = x.length / channels, width = kernel * channels, step = stride * channels;
    const cells = Math.floor((samples + 2 * pad - kernel) / stride) + 1, wide = bias.length;
    const y = new Float64Array(cells * wide);
    let padded = x;
    if (pad) {
      padded = new Float64Array(x.length + 2 * pad * channels);
      padded.set(x, pad * channels);
    }
    for (let o = 0; o < filters; o += 4) {
      const own = weights.subarray(o * width, (o + 4) * width);
      for (let t = 0; t < cells; t += 2) {
        const one = t * step, other = t + 1 < cells ? one + step : one;
        let a0 = bias[o], a1 = bias[o + 1], a2 = bias[o + 2], a3 = bias[o + 3];
        let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
        for (let j = 0; j < width; j++) {
          const p = padded[one + j], q = padded[other + j];
          const w0 = own[j], w1 = own[j + width], w2 = own[j + 2 * width], w3 = own[j + 3 * width];
          a0 += w0 * p; a1 += w1 * p; a2 += w2 * p; a3 += w3 * p;
          b0 += w0 * q; b1 += w1 * q; b2 += w2 * q; b3 += w3 * q;
        }
        const at = t * wide + o, next = at + wide;
        y[at] = linear || a0 > 0 ? a0 : 0;
        y[at + 1] = linear || a1 > 0 ? a1 : 0;
        y[at + 2] = linear || a2 > 0 ? a2 : 0;
        y[at + 3] = linear || a3 > 0 ? a3 : 0;
        if (other === one) continue;
        y[next] = linear || b0 > 0 ? b0 : 0;
        y[next + 1] = linear || b1 > 0 ? b1 : 0;
        y[next + 2] = linear || b2 > 0 ? b2 : 0;
        y[next + 3] = linear || b3 > 0 ? b3 : 0;
      }
    }
    return y;
  }
  const through = (x, layers) => layers.reduce((y, layer) => convolve(y, layer, false), x);

  function interleaved(rows, step) {
    const cells = Math.ceil(rows[0].length / step), y = new Float64Array(cells * rows.length);
    rows.forEach((row, r) => { for (let i = 0; i < cells; i++) y[i * rows.length + r] = row[i * step]; });
    return y;
  }

  // Terms of the logits, [class] Float64Array(cells), and the logits, of one member in one window.
  function contributions(member, {x, pad, length}) {
    let y = through(interleaved(x.slice(0, LEADS), 1), member.local);
    const cells = y.length / member.local.at(-1).filters;
    if (member.rhythm) {
      const rhythm = through(interleaved(x.slice(LEADS, LEADS + INTERVALS), STRIDE), member.rhythm);
      const wide = y.length / cells, more = rhythm.length / cells, both = new Float64Array(cells * (wide + more));
      for (let t = 0; t < cells; t++) {
        both.set(y.subarray(t * wide, (t + 1) * wide), t * (wide + more));
        both.set(rhythm.subarray(t * more, (t + 1) * more), t * (wide + more) + wide);
      }
      y = both;
    }
    const evidence = convolve(through(y, member.join), member.head[0], true), classes = member.bias.length;
    const each = evidence.length / cells, terms = [], logits = [];
    const inside = (t) => STRIDE * t >= pad && STRIDE * t < pad + length;
    for (let c = 0; c < classes; c++) {
      const own = Float64Array.from({ length: cells }, (_, t) => evidence[t * each + c]);
      const scaled = own.map((e, t) => (inside(t) ? e * member.sharpness[c] : -1e4));
      const top = scaled.reduce((a, b) => Math.max(a, b), -Infinity), weight = scaled.map((s) => Math.exp(s - top));
      const total = weight.reduce((a, b) => a + b, 0);
      terms.push(own.map((e, t) => member.gain[c] * weight[t] / total * e));
      logits.push(terms[c].reduce((a, b) => a + b, 0) + member.bias[c]);
    }
    return {terms, logits};
  }

  const sigmoid = (z) => 1 / (1 + Math.exp(-z)), mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  function calibrated(p, c, {slope, intercept}) {
    const kept = Math.min(Math.max(p, 1e-6), 1 - 1e-6);
    return sigmoid(slope[c] * (Math.log(kept) - Math.log1p(-kept)) + intercept[c]);
  }

  function answer(name, {windows}) {
    const network = networks[name];
    network.ready ||= network.weights.map((one) => unpacked(one, network.layers));
    const members = network.ready, classes = members[0].bias.length;
    const answered = windows.map((window) => {
      const made = members.map((member) => contributions(member, window)), cells = made[0].terms[0].length;
      const inside = [...Array(cells).keys()].filter((t) =>
        STRIDE * t >= window.pad && STRIDE * t < window.pad + window.length);
      return {
        logits: made.map((one) => one.logits),
        bias: Float32Array.from({length: classes}, (_, c) => mean(members.map((member) => member.bias[c]))),
        terms: Array.from({length: classes}, (_, c) =>
          Float32Array.from(inside, (t) => mean(made.map((one) => one.terms[c][t])))),
        at: inside.map((t) => window.first + Math.min(STRIDE * t + STRIDE / 2 - window.pad, window.length - 1)),
        first: window.first, length: window.length,
      };
    });
    const each = members.map((_, m) => Array.from({length: classes}, (_, c) =>
      calibrated(mean(answered.map((window) => sigmoid(window.logits[m][c]))), c, network.calibration)));
    const probabilities = each[0].map((_, c) => mean(each.map((one) => one[c])));
    return {
      probabilities, members: each, thresholds: network.thresholds, windows: answered,
      called: probabilities.map((p, c) => p >= network.thresholds[c]),
    };
  }

  return {
    register(name, about) { networks[name] = about; },
    has: (name) => name in networks,
    about: (name) => networks[name],
    answer,
  };
})();
