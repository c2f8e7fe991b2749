"use strict";
// The simulator's beat model in small: ecgstudy/data/simulator (dipole.py and heart.py) for one typical patient, drawn
// from settings that a reader can move. Templates, lead vectors and typical values come from the simulator itself, at
// build (ecgstudy/book/live.py); tests/test_live.py compares the ECGs. Left out: fibrillatory waves, what a breath does
// to the voltages, aberrant beats, couplets and bigeminy, electrode faults, and all variation between patients.
//
//   ModelHeart.draw(settings) -> {signal: twelve Float32Arrays in mV at ModelHeart.constants.fs,
//                                 beats: [{onset, qt, kind, movable}] in seconds}
//   settings: see ecgstudy.book.live.Settings; ModelHeart.constants.typical has them for each form of QRS
window.ModelHeart = (() => {
  let constants = null, noise = null;

  function base64Int16(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), view = new DataView(bytes.buffer);
    return Float32Array.from({length: bytes.length / 2}, (_, i) => view.getInt16(2 * i, true));
  }
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  // A wave in its own time, 0 at its onset and 1 at its offset as an annotator sees them: dipole.wave without marks.
  function delineated({centre, width, dipole}) {
    const steps = 250, ends = centre.map((c, g) => [c - 4 * width[g], c + 4 * width[g]]);
    const start = Math.min(...ends.map((e) => e[0])), end = Math.max(...ends.map((e) => e[1]));
    const time = Array.from({length: steps}, (_, i) => start + i * ((end - start) / (steps - 1)));
    const vector = time.map((t) => {
      const sum = [0, 0, 0];
      centre.forEach((c, g) => {
        const size = Math.exp(-0.5 * ((t - c) / width[g]) ** 2);
        for (let axis = 0; axis < 3; axis++) sum[axis] += size * dipole[g][axis];
      });
      return sum;
    });
    const {visible} = constants;
    const leads = constants.twelve.map((lead) => vector.map((v) => Math.abs(dot(lead, v))));
    const peaks = leads.map((lead) => Math.max(...lead)), shown = Math.min(visible, 0.9 * Math.max(...peaks));
    let onset = Infinity, offset = -Infinity;
    leads.forEach((lead, l) => {
      if (peaks[l] < shown) return;
      const border = Math.min(Math.min(Math.max(peaks[l] / 10, 0.002), 0.025), peaks[l] / 2);
      const first = lead.findIndex((v) => v > border), last = lead.findLastIndex((v) => v > border);
      onset = Math.min(onset, time[Math.max(first, 0)]);
      offset = Math.max(offset, time[last < 0 ? steps - 1 : last]);
    });
    const length = offset - onset;
    return {centre: centre.map((c) => (c - onset) / length), width: width.map((w) => w / length), dipole};
  }
  function resized(wave, factor) {
    return {...wave, dipole: wave.dipole.map((row) => row.map((v) => factor * v))};
  }
  // An ST segment from the J point to the peak of T: dipole.plateau.
  function plateau(dipole, slope, measuredAt) {
    const centre = [0, 1, 2, 3, 4, 5].map((i) => -0.1 + 0.2 * i), width = centre.map(() => 0.16);
    const weight = centre.map((c) => 1 + slope * (c - 0.4));
    const size = (c, g) => Math.exp(-0.5 * ((measuredAt - c) / width[g]) ** 2) * weight[g];
    const total = centre.reduce((sum, c, g) => sum + size(c, g), 0);
    return {centre, width, dipole: weight.map((w) => dipole.map((v) => w / total * v))};
  }

  // Onset of QRS, QT and kind of each beat: heart.draw_beats with the draws of a typical record.
  function beatsOf(heart, settings) {
    const {seconds, jitter} = constants, cycle = 60 / settings.rate, count = Math.floor(seconds / 0.3) + 6;
    const shortest = 1.03 * heart.qtc * Math.cbrt(cycle), rr = [];
    for (let k = 0; k < count; k++) {
      const nominal = cycle * k;
      const breath = Math.sin(2 * Math.PI * heart.respiration * nominal + heart.respiration_phase);
      const slow = Math.sin(2 * Math.PI * 0.1 * nominal + heart.lf_phase);
      const one = cycle * (1 + heart.rsa * breath + heart.lf * slow + settings.irregular * jitter[k]);
      rr.push(Math.max(one, shortest));
    }
    const start = -1.5 * cycle - rr[0];
    const onsets = () => {
      let sum = start;
      return rr.map((one) => sum += one);
    };
    const onTime = onsets(), away = (k) => Math.abs(onTime[k] - constants.early_at);
    const movable = onTime.reduce((best, _, k) => (away(k) < away(best) ? k : best), 0);
    const early = settings.early > 0 ? movable : -1;
    if (settings.early > 0) {
      const expected = rr[early];
      rr[early] = Math.max((1 - settings.early) * expected, Math.min(shortest, 0.95 * expected));
      if (settings.origin === "atria") { // it resets the sinus node
        const full = rr[early + 1] + expected - rr[early];
        rr[early + 1] = Math.min(heart.pac_pause * rr[early + 1], 0.98 * full);
      } else rr[early + 1] += expected - rr[early]; // a full compensatory pause
    }
    const qt = rr.map((one, k) => {
      const wider = k === early && settings.origin !== "atria" ? 0.6 * (heart.pvc_duration - settings.qrs) : 0;
      return heart.qtc * Math.cbrt(0.8 * cycle + 0.2 * one) + wider;
    });
    return onsets().map((onset, k) => ({
      onset, movable: k === movable, kind: k !== early ? "sinus" : settings.origin === "atria" ? "PAC" : "PVC",
      qt: k + 1 < count ? Math.min(qt[k], 0.97 * rr[k + 1]) : qt[k],
    })).filter(({onset}) => onset < seconds + 2);
  }

  // Waves with onset and duration of their beats: heart.place.
  function placed(heart, settings, beats) {
    const {waves} = heart, qrs = settings.qrs, found = [];
    const p = delineated(resized(waves.P, settings.p)), premature = delineated(resized(waves["PAC P"], settings.p));
    const pDuration = Math.min(heart.p_duration, settings.pr - 0.02);
    const jt = heart.qtc * Math.cbrt(60 / settings.rate) - qrs, last = waves.T.centre.at(-1);
    const tDuration = heart.t_share * jt, length = jt - tDuration + last * tDuration;
    const away = heart.st[settings.st < 0 ? "depression" : "elevation"];
    const moved = heart.st.usual.map((v, axis) => v + Math.abs(settings.st) * away[axis]);
    const st = plateau(moved, heart.st.slope, constants.st_measured / length);
    const put = (kinds, wave, onset, duration) => {
      const own = beats.filter(({kind}) => kinds.includes(kind));
      if (own.length) found.push({wave, at: own.map((beat) => [onset(beat), duration(beat)])});
    };
    const conducted = ["sinus", "PAC"], t = ({qt}) => heart.t_share * (qt - qrs);
    const pvcT = ({qt}) => 0.85 * (qt - heart.pvc_duration);
    put(["sinus"], p, ({onset}) => onset - settings.pr, () => pDuration);
    put(["PAC"], premature, ({onset}) => onset - heart.pac_pr, () => pDuration);
    put(["PVC"], waves["PVC QRS"], ({onset}) => onset, () => heart.pvc_duration);
    put(["PVC"], waves["PVC T"], (beat) => beat.onset + beat.qt - pvcT(beat), pvcT);
    for (const kind of conducted) {
      put([kind], waves.QRS, ({onset}) => onset, () => qrs);
      put([kind], waves.T, (beat) => beat.onset + beat.qt - t(beat), t);
      put([kind], st, ({onset}) => onset + qrs, (beat) => beat.qt - qrs - t(beat) + last * t(beat));
    }
    return found;
  }

  // Dipole (x, y, z of each sample): dipole.draw.
  function vectorOf(waves, samples, fs) {
    const vector = new Float64Array(3 * samples);
    for (const {wave: {centre, width, dipole}, at} of waves) {
      const longest = Math.max(...at.map(([, duration]) => duration));
      const reach = Math.ceil(constants.reach * (Math.max(...width) * longest * fs));
      for (const [onset, duration] of at) {
        centre.forEach((c, g) => {
          const middle = (onset + c * duration) * fs, wide = width[g] * duration * fs, near = Math.round(middle);
          const end = Math.min(near + reach, samples - 1);
          for (let i = Math.max(near - reach, 0); i <= end; i++) {
            const size = Math.exp(-0.5 * ((i - middle) / wide) ** 2);
            vector[3 * i] += size * dipole[g][0];
            vector[3 * i + 1] += size * dipole[g][1];
            vector[3 * i + 2] += size * dipole[g][2];
          }
        });
      }
    }
    return vector;
  }

  function draw(settings) {
    const {fs, seconds, eight} = constants, samples = Math.round(seconds * fs), heart = constants.hearts[settings.form];
    const beats = beatsOf(heart, settings), vector = vectorOf(placed(heart, settings, beats), samples, fs);
    noise ||= base64Int16(constants.noise).map((value) => value * constants.noise_step);
    const first = eight.map(([x, y, z], l) => Float32Array.from({ length: samples }, (_, i) =>
      x * vector[3 * i] + y * vector[3 * i + 1] + z * vector[3 * i + 2] + settings.noise * noise[l * samples + i]));
    const [one, two, ...chest] = first, from = (f) => one.map((_, i) => f(one[i], two[i]));
    const limb = [(a, b) => b - a, (a, b) => (a + b) / -2, (a, b) => a - b / 2, (a, b) => b - a / 2].map(from);
    return {signal: [one, two, ...limb, ...chest], beats};
  }

  return {
    configure(given) { constants = given; noise = null; },
    get constants() { return constants; },
    draw,
  };
})();
