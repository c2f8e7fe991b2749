"use strict";
// What the study's own network is given of an ECG: the steps of ecgstudy/preprocessing.py (resample, fill_gaps),
// ecgstudy/systems/local_evidence.py (windows), ecgstudy/data/qrs.py (ROBUST) and ecgstudy/reading/waves.py
// (delineate), in double precision. tests/test_live.py holds it to them. Constants are written at build
// (ecgstudy/book/live.py).
//
//   EcgInput.prepare(leads, rate)   twelve arrays in mV at any rate in Hz -> {signal, fs, windows, parts}:
//     signal   twelve Float32Arrays at fs
//     windows  {x: eighteen rows, first: sample of the record, pad: zeros before it, length: samples of the record}
//     parts    {beats: samples, part: number in constants.parts of each sample}; null with fewer than two beats
window.EcgInput = (() => {
  let constants = null;

  // --- numbers as numpy has them ---------------------------------------------------------------------------------

  function even(value) {  // Python's round(): halves go to the even neighbour
    const rounded = Math.round(value);
    return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
  }
  function median(values) {
    const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  function mirrored(i, n) {
    return i < 0 ? -i - 1 : i >= n ? 2 * n - 1 - i : i;
  }
  function movingMean(x, size) {  // scipy's uniform_filter1d with its running sum
    const n = x.length, y = new Float64Array(n), before = size >> 1;
    let sum = 0;
    for (let i = -before; i < size - before; i++) sum += x[mirrored(i, n)];
    for (let i = 0; i < n; i++) {
      y[i] = sum / size;
      sum += x[mirrored(i + size - before, n)] - x[mirrored(i - before, n)];
    }
    return y;
  }
  function movingMedian(x, size) {
    const n = x.length, y = new Float64Array(n), half = size >> 1, sorted = new Float64Array(size);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < size; k++) {
        const value = x[mirrored(i + k - half, n)];
        let at = k;
        for (; at > 0 && sorted[at - 1] > value; at--) sorted[at] = sorted[at - 1];
        sorted[at] = value;
      }
      y[i] = sorted[half];
    }
    return y;
  }
  function filtered(x, {sections, start, edge}) {  // scipy's sosfiltfilt
    const n = x.length, long = new Float64Array(n + 2 * edge);
    for (let i = 1; i <= edge; i++) {
      long[edge - i] = 2 * x[0] - x[i];
      long[edge + n - 1 + i] = 2 * x[n - 1] - x[n - 1 - i];
    }
    long.set(x, edge);
    for (let direction = 0; direction < 2; direction++) {
      const first = long[0];
      sections.forEach(([b0, b1, b2, , a1, a2], s) => {
        let z0 = start[s][0] * first, z1 = start[s][1] * first;
        for (let i = 0; i < long.length; i++) {
          const value = long[i], out = b0 * value + z0;
          z0 = b1 * value - a1 * out + z1;
          z1 = b2 * value - a2 * out;
          long[i] = out;
        }
      });
      long.reverse();
    }
    return long.subarray(edge, edge + n);
  }

  // --- another rate ----------------------------------------------------------------------------------------------

  const turns = new Map();
  function roots(n) { // cosines and sines of n parts of a turn
    if (!turns.has(n)) {
      const angle = Float64Array.from({ length: n }, (_, i) => (2 * Math.PI * i) / n);
      turns.set(n, [angle.map(Math.cos), angle.map(Math.sin)]);
    }
    return turns.get(n);
  }
  function fourier(re, im, sign) { // of any length: quick where its factors are small
    const n = re.length, [cos, sin] = roots(n);
    function transform(a, b) {
      const m = a.length, step = n / m, outRe = new Float64Array(m), outIm = new Float64Array(m);
      let p = [5, 3, 2, 7, 11].find((one) => m % one === 0) || 13;
      while (m % p && p * p <= m) p++;
      const small = m <= 16 || m % p !== 0, q = small ? 1 : m / p, count = small ? m : p;
      for (let r = 0; r < count; r++) {
        let c = a, d = b, from = r;
        if (!small) {
          [c, d, from] = [new Float64Array(q), new Float64Array(q), 0];
          for (let i = 0, at = r; i < q; i++, at += p) { c[i] = a[at]; d[i] = b[at]; }
          [c, d] = transform(c, d);
        }
        for (let k = 0, i = 0, turn = 0; k < m; k++) {
          const w = cos[turn * step], v = sign * sin[turn * step], x = c[from + i], y = d[from + i];
          outRe[k] += x * w - y * v;
          outIm[k] += x * v + y * w;
          if (++i === q) i = 0;
          turn += r;
          if (turn >= m) turn -= m;
        }
      }
      return [outRe, outIm];
    }
    return transform(re, im);
  }
  function fraction(x) {  // Python's Fraction.limit_denominator(10_000)
    let [p0, q0, p1, q1] = [0, 1, 1, 0], rest = x;
    for (;;) {
      const whole = Math.floor(rest), q2 = q0 + whole * q1;
      if (q2 > 10000) {
        const k = Math.floor((10000 - q0) / q1), near = [p0 + k * p1, q0 + k * q1];
        return Math.abs(p1 / q1 - x) <= Math.abs(near[0] / near[1] - x) ? [p1, q1] : near;
      }
      [p0, q0, p1, q1] = [p1, q1, p0 + whole * p1, q2];
      if (rest - whole < 1e-9) return [p1, q1];
      rest = 1 / (rest - whole);
    }
  }
  function quickLength(n) {
    for (;; n++) {
      let left = n;
      for (const p of [2, 3, 5, 7, 11]) while (left % p === 0) left /= p;
      if (left === 1) return n;
    }
  }
  function resampled(leads, fs, to) {
    const n = leads[0].length;
    if (fs === to || n < 2) return leads.map((lead) => Float32Array.from(lead));
    const [up, down] = fraction(to / fs), blocks = quickLength(Math.ceil(n / down));
    const before = blocks * down, after = blocks * up, shorter = Math.min(before, after), half = shorter >> 1;
    const kept = Math.ceil(n * up / down), found = [];
    for (let one = 0; one < leads.length; one += 2) {  // two leads at a time: one as real, one as imaginary part
      const pair = [leads[one], leads[one + 1] || leads[one]];
      const slope = pair.map((x) => (x[n - 1] - x[0]) / (n - 1));
      const [re, im] = pair.map((x, k) => {
        const flat = new Float64Array(before);
        for (let i = 0; i < n; i++) flat[i] = x[i] - x[0] - slope[k] * i;
        return flat;
      });
      const spectrum = fourier(re, im, -1);
      const [a, b] = spectrum.map((z) => {
        const y = new Float64Array(after);
        y[0] = z[0];
        for (let k = 1; 2 * k < shorter; k++) { y[k] = z[k]; y[after - k] = z[before - k]; }
        if (shorter % 2 === 0 && before !== after) {  // a frequency that is its own mirror image in one of the two
          if (after < before) y[half] = z[half] + z[before - half];
          else y[half] = y[after - half] = z[half] / 2;
        } else if (shorter % 2 === 0) y[half] = z[half];
        return y;
      });
      fourier(a, b, 1).forEach((y, k) => {
        if (one + k < leads.length) {
          const value = (_, i) => y[i] / before + pair[k][0] + (slope[k] * i * down) / up;
          found.push(Float32Array.from({ length: kept }, value));
        }
      });
    }
    return found;
  }
  function bridged(lead) {  // gaps become the straight line between their neighbours
    const good = [];
    lead.forEach((value, i) => { if (Number.isFinite(value)) good.push(i); });
    if (good.length === lead.length) return lead;
    const whole = new Float32Array(lead.length);
    for (let i = 0, next = 0; good.length && i < lead.length; i++) {
      while (next < good.length && good[next] < i) next++;
      const right = good[Math.min(next, good.length - 1)], left = next ? good[next - 1] : right;
      const share = right > left ? Math.min((i - left) / (right - left), 1) : 0;
      whole[i] = lead[left] + share * (lead[right] - lead[left]);
    }
    return whole;
  }

  // --- what the networks are given ---------------------------------------------------------------------------------

  function withoutBaseline(lead) {
    const step = 5, n = lead.length, coarse = new Float64Array(Math.ceil(n / step));
    for (let i = 0; i < coarse.length; i++) {
      let sum = 0;
      for (let k = 0; k < step; k++) sum += lead[Math.min(i * step + k, n - 1)];
      coarse[i] = Math.fround(sum / step);
    }
    const slow = movingMean(movingMedian(movingMedian(coarse, 5), 15), 3).map(Math.fround), last = slow.length - 1;
    return Float64Array.from(lead, (value, i) => {
      const at = Math.min(Math.max((i - 2) / step, 0), last), left = Math.min(Math.floor(at), last - 1);
      return value - (slow[left] + (at - left) * (slow[left + 1] - slow[left]));
    });
  }
  function findBeats(leads, fs) {  // qrs.ROBUST.find
    const n = leads[0].length, mean = new Float64Array(Math.max(n - 1, 0));
    if (n < fs) return [];
    let alive = 0;
    for (const lead of leads) {
      const band = filtered(lead, constants.filters.beats), slope = new Float64Array(n - 1);
      let scale = 0;
      for (let i = 0; i < n - 1; i++) scale += slope[i] = Math.abs(band[i + 1] - band[i]);
      scale /= n - 1;
      if (scale <= 0.01 / fs) continue;
      alive++;
      for (let i = 0; i < n - 1; i++) mean[i] += slope[i] / scale;
    }
    if (!alive) return [];
    const strength = movingMean(mean.map((value) => value / alive), even(0.1 * fs)), peaks = [];
    for (let i = 1; i < n - 2; i++) {
      if (strength[i - 1] >= strength[i]) continue;
      let end = i + 1;
      while (end < n - 2 && strength[end] === strength[i]) end++;
      if (strength[end] < strength[i]) peaks.push((i + end - 1) >> 1);
    }
    const apart = Math.ceil(even(0.25 * fs)), keep = peaks.map(() => true);
    const order = peaks.map((_, k) => k).sort((a, b) => strength[peaks[b]] - strength[peaks[a]] || b - a);
    for (const k of order) {
      if (!keep[k]) continue;
      for (let j = k - 1; j >= 0 && peaks[k] - peaks[j] < apart; j--) keep[j] = false;
      for (let j = k + 1; j < peaks.length && peaks[j] - peaks[k] < apart; j++) keep[j] = false;
    }
    const left = peaks.filter((_, k) => keep[k]);
    const highest = left.map((p) => strength[p]).sort((a, b) => b - a).slice(0, Math.max(1, even(n / fs)));
    return left.filter((p) => strength[p] > 0.4 * median(highest));
  }
  function beatIntervals(beats, fs, n) {  // six rows, see local_evidence.beat_intervals
    const rows = Array.from({length: 6}, () => new Float32Array(n));
    if (beats.length < 3) return rows;
    const intervals = beats.slice(1).map((beat, k) => (beat - beats[k]) / fs), typical = median(intervals);
    const logs = intervals.map((one) => Math.min(Math.max(Math.log(one / typical), -1), 1));
    for (let i = 0, own = -1; i < n; i++) {
      while (own + 1 < beats.length && beats[own + 1] < i) own++;
      for (let row = 0; row < 5; row++) rows[row][i] = logs[own + row - 2] ?? 0;
      rows[5][i] = Math.log(typical / 0.8);
    }
    return rows;
  }
  function partsOfBeats(leads, fs) {  // see waves.delineate; null without beats
    const beats = findBeats(leads, fs), n = leads[0].length;
    if (beats.length < 2) return null;
    const slope = new Float64Array(n);
    for (const lead of leads) {
      const band = filtered(lead, constants.filters.edges);
      for (let i = 0; i < n; i++) {
        const a = Math.max(i - 1, 0), b = Math.min(i + 1, n - 1);
        slope[i] += Math.abs(band[b] - band[a]) / (b - a) / leads.length;
      }
    }
    const steepness = movingMean(slope, Math.max(1, even(0.02 * fs))), reach = even(0.12 * fs);
    const rate = Math.cbrt(median(beats.slice(1).map((beat, k) => beat - beats[k])) / fs);
    const [P, PR, QRS, ST, T, TQ] = [0, 1, 2, 3, 4, 5], part = new Uint8Array(n).fill(TQ);
    const spans = beats.map((beat) => {
      const near = Array.from({length: 2 * reach + 1}, (_, k) =>
        steepness[Math.min(Math.max(beat - reach + k, 0), n - 1)]);
      const border = 0.15 * Math.max(...near), steep = near.map((value) => value > border);
      const onset = Math.min(beat - reach + steep.indexOf(true), beat + even(-0.035 * fs));
      const offset = Math.max(beat - reach + steep.lastIndexOf(true) + 1, beat + even(0.04 * fs));
      const late = Math.max((offset - beat) / fs - 0.054, 0);
      return {
        onset, offset, p: [beat + even(-0.22 * fs), beat + even(-0.11 * fs)],
        t: [0.065 + 0.104 * rate + 0.7 * late, 0.056 + 0.309 * rate + 0.5 * late].map((s) => beat + even(s * fs)),
      };
    });
    const fill = (which, span) => spans.forEach((one) => {
      const [begin, end] = span(one).map((at) => Math.max(at, 0));
      if (end > begin) part.fill(which, begin, end);
    });
    fill(P, (one) => one.p);
    fill(PR, (one) => [one.p[1], one.onset]);
    fill(T, (one) => one.t);
    fill(ST, (one) => [one.offset, one.t[0]]);
    fill(QRS, (one) => [one.onset, one.offset]);
    return {beats, part};
  }
  function prepare(leads, rate) {
    const {fs, samples} = constants;
    const read = leads.map((lead) => lead.slice(0, Math.round(constants.longest * rate)));
    const signal = resampled(read.map(bridged), rate, fs);
    const clean = signal.map(withoutBaseline), n = signal[0].length;
    const rows = [...clean, ...beatIntervals(findBeats(clean, fs), fs, n)];
    const windows = (n > samples ? [0, 0.5, 1] : [0.5]).map((where) => {
      const start = even((n - samples) * where), first = Math.max(start, 0), pad = Math.max(-start, 0);
      const length = Math.min(n, samples);
      const x = rows.map((row) => {
        const own = new Float32Array(samples);
        own.set(row.subarray(first, first + length), pad);
        return own;
      });
      return {x, first, pad, length};
    });
    return {signal, fs, windows, parts: partsOfBeats(signal.map((lead) => Float64Array.from(lead)), fs)};
  }

  return {
    configure(given) { constants = given; },
    get constants() { return constants; },
    prepare,
  };
})();
