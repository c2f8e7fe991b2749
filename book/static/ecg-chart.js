/* A 12-lead ECG on chart paper, in a canvas: to look at, to zoom, to measure and to mark.

A plain script: it needs no module, no server and no other file but ecg-chart.css, which lays out what is around it.

    const chart = EcgChart.create(element, options);    // element: an empty block, whose width the chart takes
    chart.update({map: other});                         // any of the options; what is left out stays
    chart.destroy();

Options (times in seconds from the beginning of the record):

    fs, leads, signals  rate in Hz, names, and for each lead a Float32Array of mV, all of one length
    map       null or {fs, values}: values is an array with one number a time step, or an array of such arrays, one a
              lead. What is positive is laid under the trace, as a share of the map's largest value.
    key       null or [{leads: [names], spans: [[from, to], ...]}, ...]: drawn as brackets below these leads
    marks     [[from, to], ...]: the reader's, drawn across all leads
    mode      "pan" (dragging moves the view) or "mark" (dragging marks a time)
    view      [from, to] that is seen; null: as much as fits at 25 mm/s
    columns   1 or 2 columns of leads; 0: as many as fit
    tools     false leaves out the buttons
    words     {map, key, marks}: what the legend calls them
    label     what is shown, for whoever cannot see it
    onview(view)                when the view has moved
    onmark([from, to])          when a time has been marked, in mode "mark"
    onclick(time, lead)         when a moment was clicked, or Delete pressed at the cursor
    oncalipers({ms, mV} | null) when the calipers have moved

    chart.view, chart.seconds   what is seen, and how long the record is
    chart.place(time, lead)     {x, y} in the canvas, in CSS pixels; chart.canvas is that canvas
    EcgChart.int16(base64)      Int16Array of little-endian base64 (EcgChart.int8, the same of bytes)

Keys, when the chart has the focus: arrows move, + and - zoom, 0 shows everything, Home and End lead to the ends, C takes
the calipers. Marking: arrows move a cursor, Space begins and ends a mark, Delete removes the one at the cursor.
Calipers: arrows move one end, Space takes the other, Escape puts them away. The wheel zooms with Ctrl, or when the
chart has the focus; two fingers zoom on a touch screen. */

(function () {
  "use strict";

  const STEPS = [0.1, 0.3, 0.55, 0.8]; // shares of the largest value from which on a map has its first to fourth colour
  const THEMES = {
    light: {
      paper: "#fffaf5", fine: "rgba(221,148,132,.35)", coarse: "rgba(205,120,102,.75)", ink: "#1a1a1a",
      levels: ["#d3e4f3", "#a4cbe5", "#63a5d2", "#2f7ab8"],
      key: "#117733", mark: "#9a4a00", fill: "rgba(230,159,0,.25)", caliper: "#6a1b9a",
    },
    dark: {
      paper: "#1b1716", fine: "rgba(190,110,90,.25)", coarse: "rgba(200,120,100,.5)", ink: "#f2efec",
      levels: ["#1d3a50", "#265b80", "#3079ab", "#3d8cc4"],
      key: "#7fd6a0", mark: "#ffb84d", fill: "rgba(255,184,77,.22)", caliper: "#dcb0f7",
    },
  };
  const HELP = {
    pan: "Arrow keys move the view, plus and minus zoom, 0 shows the whole record, C takes the calipers.",
    mark: "Arrow keys move the cursor, Space begins and ends a mark, Delete removes a mark, plus and minus zoom.",
  };
  const SHORTEST = 0.5, OVERVIEW = 46, GAP = 10;
  let count = 0;

  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  const dark = () => document.documentElement.dataset.theme === "dark";

  function make(tag, name, parent, text) {
    const one = document.createElement(tag);
    if (name) one.className = name;
    if (text) one.textContent = text;
    if (parent) parent.appendChild(one);
    return one;
  }

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  }

  function median(values) {
    const sorted = Float32Array.from(values).sort();
    return sorted.length ? (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : 0;
  }

  function create(host, options) {
    const o = {
      fs: 250, leads: [], signals: [], map: null, key: null, marks: [], mode: "pan", view: null, columns: 0, tools: true,
      label: "12-lead ECG", words: {},
    };
    const root = make("div", "ecg-chart", host), bar = make("div", "ecg-tools", root);
    const canvas = make("canvas", "ecg-paper", root), foot = make("p", "ecg-foot", root);
    const legend = make("span", "ecg-legend", foot), said = make("span", "ecg-said", foot);
    const help = make("p", "ecg-hidden", root), buttons = {};
    let g = {}, view = null, chosen = false, zero = [], levels = null, brackets = new Map(), due = 0;
    let measuring = false, calipers = null, cursor = null, begun = null, drag = null, pinch = null;
    const fingers = new Map();

    // --- geometry ----------------------------------------------------------------------------------------------------

    const seconds = () => (o.signals.length ? o.signals[0].length / o.fs : 10);

    function measure() {
      const width = Math.max(200, Math.floor(root.clientWidth)), columns = o.columns || (width >= 640 ? 2 : 1);
      const across = width / columns, rows = Math.ceil(o.leads.length / columns) || 1;
      const mm = clamp(across / 140, 2.2, 3.78), gutter = 8 * mm, row = (columns === 2 ? 25 : 20) * mm;
      g = { width, columns, across, rows, mm, gutter, row, base: (columns === 2 ? 15 : 10) * mm, body: rows * row };
      g.height = Math.ceil(g.body + GAP + OVERVIEW);
      g.natural = Math.min(seconds(), (across - gutter) / (25 * mm));
      if (!view || !chosen) view = [view ? clamp(view[0], 0, seconds() - g.natural) : 0, 0];
      if (!chosen) view[1] = view[0] + g.natural;
      g.second = (across - gutter) / (view[1] - view[0]);
    }

    const column = (lead) => Math.floor(lead / g.rows);
    const zeroOf = (lead) => (lead % g.rows) * g.row + g.base;
    const xOf = (t, col) => col * g.across + g.gutter + (t - view[0]) * g.second;
    const yOf = (mV, lead) => zeroOf(lead) - mV * 10 * g.mm;

    function at(x, y) {
      const col = clamp(Math.floor(x / g.across), 0, g.columns - 1);
      const lead = Math.min(col * g.rows + clamp(Math.floor(y / g.row), 0, g.rows - 1), o.leads.length - 1);
      const t = clamp(view[0] + (x - col * g.across - g.gutter) / g.second, 0, seconds());
      return { t, lead, mV: (zeroOf(lead) - y) / (10 * g.mm), overview: y > g.body + GAP / 2 };
    }

    function look(from, to, quiet) {
      const span = clamp(to - from, Math.min(SHORTEST, seconds()), seconds());
      const first = clamp(from, 0, seconds() - span);
      chosen = true;
      view = [first, first + span];
      redraw();
      if (!quiet) {
        if (o.onview) o.onview(view.slice());
        say(`${view[0].toFixed(1)} to ${view[1].toFixed(1)} s`);
      }
    }

    function zoom(factor, around) {
      const t = around === undefined ? (view[0] + view[1]) / 2 : around;
      look(t - (t - view[0]) / factor, t + (view[1] - t) / factor);
    }

    const pan = (by) => look(view[0] + by, view[1] + by);

    // --- drawing -----------------------------------------------------------------------------------------------------

    function prepare() {
      zero = o.signals.map(median);
      levels = null;
      if (o.map) {
        const rows = typeof o.map.values[0] === "number" ? [o.map.values] : o.map.values;
        const top = rows.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 0);
        const level = (v) => (v > 0 ? STEPS.filter((step) => v >= step * top).length : 0);
        levels = rows.map((row) => Uint8Array.from(row, level));
      }
      brackets = new Map(o.leads.map((name) => [name, []]));
      for (const one of o.key || []) for (const name of one.leads) brackets.get(name).push(...one.spans);
      canvas.setAttribute("aria-label", o.label);
      help.textContent = HELP[o.mode];
      canvas.style.touchAction = measuring ? "none" : "pan-y";
      describe();
    }

    function describe() {
      const c = THEMES[dark() ? "dark" : "light"], words = o.words;
      legend.textContent = "Small square: 40 ms, 0.1 mV. ";
      if (levels) {
        legend.append(`${words.map || "Map"}: little `);
        for (const colour of c.levels) make("i", "ecg-box", legend).style.background = colour;
        legend.append(" much. ");
      }
      const shown = [[o.key, "ecg-bracket", c.key, words.key || "answer key"]];
      shown.push([o.marks.length, "ecg-marked", c.mark, words.marks || "your marks"]);
      for (const [there, name, colour, word] of shown) {
        if (!there) continue;
        make("i", name, legend).style.borderColor = colour;
        legend.append(` ${word}. `);
      }
    }

    function draw() {
      due = 0;
      measure();
      const c = THEMES[dark() ? "dark" : "light"], scale = window.devicePixelRatio || 1, p = canvas.getContext("2d");
      const [w, h] = [Math.round(g.width * scale), Math.round(g.height * scale)];
      if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
      canvas.style.height = `${g.height}px`;
      p.setTransform(scale, 0, 0, scale, 0, 0);
      p.clearRect(0, 0, g.width, g.height);
      p.fillStyle = c.paper;
      p.fillRect(0, 0, g.width, g.body);
      p.font = `${Math.round(clamp(4.2 * g.mm, 11, 15))}px system-ui, sans-serif`;
      for (let col = 0; col < g.columns; col++) {
        const leads = o.leads.map((_, i) => i).filter((i) => column(i) === col);
        p.save();
        p.beginPath();
        p.rect(col * g.across + g.gutter, 0, g.across - g.gutter, g.body);
        p.clip();
        if (levels) for (const i of leads) shade(p, c, levels[levels.length > 1 ? i : 0], col, i);
        grid(p, c, col);
        for (const [a, b] of o.marks) band(p, c, xOf(a, col), xOf(b, col), 0, g.body);
        if (begun !== null && cursor !== null) band(p, c, xOf(begun, col), xOf(cursor, col), 0, g.body);
        for (const i of leads) trace(p, c, i, col);
        for (const i of leads) for (const [a, b] of brackets.get(o.leads[i])) bracket(p, c, a, b, i, col);
        if (cursor !== null && o.mode === "mark") line(p, c.mark, xOf(cursor, col), 0, xOf(cursor, col), g.body, 2);
        if (calipers && column(calipers.lead) === col) measureAt(p, c, col);
        p.restore();
        for (const i of leads) name(p, c, i, col);
      }
      overview(p, c);
    }

    const redraw = () => { due = due || requestAnimationFrame(draw); };

    function line(p, colour, x0, y0, x1, y1, width) {
      p.strokeStyle = colour;
      p.lineWidth = width;
      p.beginPath();
      p.moveTo(x0, y0);
      p.lineTo(x1, y1);
      p.stroke();
    }

    function shade(p, c, own, col, lead) {
      const fs = o.map.fs, top = zeroOf(lead) - g.base;
      const last = Math.min(own.length, Math.ceil(view[1] * fs));
      for (let i = Math.max(0, Math.floor(view[0] * fs)), end; i < last; i = end) {
        for (end = i + 1; end < last && own[end] === own[i];) end++;
        if (!own[i]) continue;
        p.fillStyle = c.levels[own[i] - 1];
        p.fillRect(xOf(i / fs, col), top + 1, ((end - i) / fs) * g.second, g.row - 2);
      }
    }

    function grid(p, c, col) {
      for (const [step, colour] of [[1, c.fine], [5, c.coarse]]) {
        const t = 0.04 * step;
        p.strokeStyle = colour;
        p.lineWidth = step === 5 ? 1 : 0.7;
        p.beginPath();
        if (t * g.second > 2.5) {
          for (let i = Math.ceil(view[0] / t); i * t <= view[1]; i++) {
            p.moveTo(xOf(i * t, col), 0);
            p.lineTo(xOf(i * t, col), g.body);
          }
        }
        for (let y = 0; y <= g.body + 1; y += step * g.mm) {
          p.moveTo(col * g.across + g.gutter, y);
          p.lineTo((col + 1) * g.across, y);
        }
        p.stroke();
      }
    }

    function curve(p, lead, from, to, x, y) {
      const signal = o.signals[lead], first = Math.max(0, Math.floor(from * o.fs) - 1);
      const last = Math.min(signal.length - 1, Math.ceil(to * o.fs) + 1);
      p.beginPath();
      for (let i = first; i <= last; i++) p.lineTo(x(i / o.fs), y(signal[i] - zero[lead]));
      p.stroke();
    }

    function trace(p, c, lead, col) {
      p.strokeStyle = c.ink;
      p.lineWidth = 1.3;
      p.lineJoin = "round";
      curve(p, lead, view[0], view[1], (t) => xOf(t, col), (mV) => yOf(mV, lead));
    }

    function band(p, c, x0, x1, top, height) {
      p.fillStyle = c.fill;
      p.fillRect(Math.min(x0, x1), top, Math.abs(x1 - x0), height);
      for (const x of [x0, x1]) line(p, c.mark, x, top, x, top + height, 1.5);
    }

    function bracket(p, c, from, to, lead, col) {
      const y = zeroOf(lead) - g.base + g.row - 4, x = [xOf(from, col), xOf(to, col)];
      line(p, c.key, x[0], y, x[1], y, 3);
      for (const end of x) line(p, c.key, end, y + 1.5, end, y - 6, 2);
    }

    function name(p, c, lead, col) {
      const x = col * g.across + g.gutter, y = zeroOf(lead), mm = g.mm;
      p.strokeStyle = c.ink;
      p.lineWidth = 1.2;
      p.beginPath(); // 1 mV for 0.2 s at 25 mm/s
      [[1, 0], [2, 0], [2, 10], [6, 10], [6, 0], [7, 0]].forEach(([a, b]) => p.lineTo(x - g.gutter + a * mm, y - b * mm));
      p.stroke();
      p.strokeStyle = c.paper;
      p.lineWidth = 4;
      p.lineJoin = "round";
      p.fillStyle = c.ink;
      p.strokeText(o.leads[lead], x + 4, y - g.base + 14);
      p.fillText(o.leads[lead], x + 4, y - g.base + 14);
    }

    function measureAt(p, c, col) {
      const { t, mV, lead } = calipers, x = t.map((one) => xOf(one, col)), y = mV.map((one) => yOf(one, lead));
      for (const end of [0, 1]) {
        line(p, c.caliper, x[end], 0, x[end], g.body, end === calipers.end ? 2 : 1);
        line(p, c.caliper, Math.min(...x) - 12, y[end], Math.max(...x) + 12, y[end], end === calipers.end ? 2 : 1);
      }
    }

    function overview(p, c) {
      const top = g.body + GAP, x = (t) => (t / seconds()) * g.width, lead = Math.max(0, o.leads.indexOf("II"));
      p.fillStyle = c.paper;
      p.fillRect(0, top, g.width, OVERVIEW);
      if (levels) {
        const fs = o.map.fs;
        for (let i = 0; i < levels[0].length; i++) {
          const most = levels.reduce((a, row) => Math.max(a, row[i]), 0);
          if (most) p.fillStyle = c.levels[most - 1];
          if (most) p.fillRect(x(i / fs), top, g.width / fs / seconds() + 0.5, OVERVIEW);
        }
      }
      p.strokeStyle = c.ink;
      p.lineWidth = 0.8;
      if (o.signals.length) curve(p, lead, 0, seconds(), x, (mV) => top + 28 - clamp(mV, -1, 2) * 11);
      for (const one of o.key || []) for (const [a, b] of one.spans) line(p, c.key, x(a), g.height - 3, x(b), g.height - 3, 3);
      for (const [a, b] of o.marks) band(p, c, x(a), x(b), top, OVERVIEW);
      p.strokeStyle = c.ink;
      p.lineWidth = 2;
      p.strokeRect(x(view[0]) + 1, top + 1, x(view[1]) - x(view[0]) - 2, OVERVIEW - 2);
    }

    // --- what the reader does ----------------------------------------------------------------------------------------

    function say(text) {
      said.textContent = text;
    }

    function take(measured) {
      measuring = measured;
      calipers = null;
      if (measuring && document.activeElement === canvas) spread();
      if (buttons.calipers) buttons.calipers.setAttribute("aria-pressed", String(measuring));
      canvas.style.touchAction = measuring ? "none" : "pan-y";
      say(measuring && !calipers ? "Drag from one point to another." : said.textContent);
      if (!measuring && o.oncalipers) o.oncalipers(null);
      redraw();
    }

    function spread() {
      const middle = (view[0] + view[1]) / 2;
      calipers = { t: [middle - 0.2, middle + 0.2], mV: [0, 0.5], lead: Math.max(0, o.leads.indexOf("II")), end: 1 };
      tell();
    }

    function tell() {
      const s = Math.abs(calipers.t[1] - calipers.t[0]), mV = calipers.mV[1] - calipers.mV[0];
      const rate = s > 0.2 ? `, ${Math.round(60 / s)} a minute` : "";
      say(`${o.leads[calipers.lead]}: ${Math.round(1000 * s)} ms, ${mV.toFixed(2).replace("-", "−")} mV${rate}`);
      if (o.oncalipers) o.oncalipers({ ms: 1000 * s, mV });
      redraw();
    }

    function where(event) {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    function down(event) {
      const [x, y] = where(event), place = at(x, y);
      if (event.button) return;
      fingers.set(event.pointerId, x);
      canvas.setPointerCapture(event.pointerId);
      if (fingers.size === 2) {
        const [a, b] = fingers.values();
        pinch = { span: view[1] - view[0], apart: Math.abs(a - b) || 1, t: at((a + b) / 2, y).t };
        drag = begun = cursor = null;
        return;
      }
      const kind = place.overview ? "overview" : measuring ? "calipers" : o.mode;
      drag = { kind, x, y, t: place.t, lead: place.lead, view: view.slice(), moved: false };
      if (kind === "calipers") calipers = { t: [place.t, place.t], mV: [place.mV, place.mV], lead: place.lead, end: 1 };
      if (kind === "overview") move(event);
    }

    function move(event) {
      if (!fingers.has(event.pointerId)) return;
      const [x, y] = where(event);
      fingers.set(event.pointerId, x);
      if (pinch && fingers.size === 2) {
        const [a, b] = fingers.values(), span = (pinch.span * pinch.apart) / Math.max(1, Math.abs(a - b));
        const share = (pinch.t - view[0]) / (view[1] - view[0]);
        look(pinch.t - share * span, pinch.t + (1 - share) * span);
        return;
      }
      if (!drag) return;
      drag.moved = drag.moved || Math.hypot(x - drag.x, y - drag.y) > 4;
      if (drag.kind === "overview") {
        const middle = (x / g.width) * seconds(), half = (view[1] - view[0]) / 2;
        look(middle - half, middle + half);
      } else if (drag.moved && drag.kind === "pan") {
        look(drag.view[0] - (x - drag.x) / g.second, drag.view[1] - (x - drag.x) / g.second);
      } else if (drag.moved && drag.kind === "mark") {
        begun = drag.t;
        cursor = clamp(drag.t + (x - drag.x) / g.second, 0, seconds());
        say(`${begun.toFixed(2)} to ${cursor.toFixed(2)} s`);
        redraw();
      } else if (drag.kind === "calipers") {
        calipers.t[1] = clamp(drag.t + (x - drag.x) / g.second, 0, seconds());
        calipers.mV[1] = calipers.mV[0] - (y - drag.y) / (10 * g.mm);
        tell();
      }
    }

    function up(event) {
      if (!fingers.delete(event.pointerId)) return;
      if (pinch) pinch = fingers.size ? pinch : null;
      const one = drag;
      drag = null;
      if (!one) return;
      const cancelled = event.type === "pointercancel"; // the page scrolls
      if (one.kind === "mark" && one.moved && !cancelled) mark();
      if (one.kind === "mark") begun = cursor = null;
      if (!one.moved && !cancelled && (one.kind === "mark" || one.kind === "pan") && o.onclick) {
        o.onclick(one.t, o.leads[one.lead]);
      }
      redraw();
    }

    function mark() {
      const [from, to] = [begun, cursor].sort((a, b) => a - b);
      begun = null;
      if (to > from && o.onmark) o.onmark([from, to]);
    }

    function wheel(event) {
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      if (!sideways && !event.ctrlKey && document.activeElement !== canvas) return; // the page scrolls
      event.preventDefault();
      const by = event.deltaX || event.deltaY;
      if (sideways) pan((Math.sign(by) * (view[1] - view[0])) / 10);
      else zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, at(...where(event)).t);
    }

    function key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const side = { ArrowLeft: -1, ArrowRight: 1 }[event.key] || 0, rise = { ArrowUp: 1, ArrowDown: -1 }[event.key] || 0;
      const ends = { Home: 0, End: seconds() }, span = view[1] - view[0], enter = event.key === " " || event.key === "Enter";
      if (event.key === "+" || event.key === "=") zoom(1.5);
      else if (event.key === "-") zoom(1 / 1.5);
      else if (event.key === "0") look(0, seconds());
      else if (event.key.toLowerCase() === "c") take(!measuring);
      else if (measuring && event.key === "Escape") take(false);
      else if (measuring && calipers && (side || rise)) {
        const fine = event.shiftKey ? 10 : 1;
        calipers.t[calipers.end] = clamp(calipers.t[calipers.end] + side * 0.004 * fine, 0, seconds());
        calipers.mV[calipers.end] += rise * 0.01 * fine;
        tell();
      } else if (measuring && calipers && enter) {
        calipers.end = 1 - calipers.end;
        redraw();
      } else if (event.key in ends) look(ends[event.key] - (ends[event.key] ? span : 0), ends[event.key] + span);
      else if (o.mode === "mark" && !measuring) return marking(event, side, enter, span);
      else if (side) pan(side * span * (event.shiftKey ? 0.5 : 0.1));
      else return;
      event.preventDefault();
    }

    function marking(event, side, enter, span) {
      if (cursor === null && (side || enter)) cursor = (view[0] + view[1]) / 2;
      if (side) {
        cursor = clamp(cursor + side * (event.shiftKey ? 0.2 : 0.04), 0, seconds());
        if (cursor < view[0] || cursor > view[1]) look(cursor - span / 2, cursor + span / 2);
        say(`Cursor at ${cursor.toFixed(2)} s${begun === null ? "" : `, mark from ${begun.toFixed(2)} s`}`);
      } else if (enter && begun === null) {
        begun = cursor;
        say(`Mark from ${begun.toFixed(2)} s`);
      } else if (enter) mark();
      else if (event.key === "Escape") begun = null;
      else if ((event.key === "Delete" || event.key === "Backspace") && cursor !== null && o.onclick) o.onclick(cursor, "");
      else return;
      event.preventDefault();
      redraw();
    }

    // --- life --------------------------------------------------------------------------------------------------------

    function tool(id, sign, word, action) {
      const one = (buttons[id] = make("button", "ecg-button", bar));
      one.type = "button";
      if (sign) make("span", "", one, sign).setAttribute("aria-hidden", "true");
      make("span", sign ? "ecg-hidden" : "", one, word);
      one.addEventListener("click", action);
    }

    function update(changed) {
      const other = "signals" in changed && changed.signals !== o.signals;
      Object.assign(o, changed);
      bar.hidden = !o.tools;
      if (other) {
        calipers = cursor = begun = null;
        view = null;
        chosen = false;
      }
      prepare();
      if (changed.view) look(changed.view[0], changed.view[1], true);
      redraw();
    }

    help.id = `ecg-help-${++count}`;
    said.setAttribute("role", "status");
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "View of the ECG");
    const about = { role: "application", tabindex: "0", "aria-roledescription": "ECG chart", "aria-describedby": help.id };
    for (const [name, value] of Object.entries(about)) canvas.setAttribute(name, value);
    tool("out", "−", "Zoom out", () => zoom(1 / 1.5));
    tool("in", "+", "Zoom in", () => zoom(1.5));
    tool("left", "◀", "Earlier", () => pan((view[0] - view[1]) / 2));
    tool("right", "▶", "Later", () => pan((view[1] - view[0]) / 2));
    tool("whole", "", "Whole record", () => look(0, seconds()));
    tool("calipers", "", "Calipers", () => take(!measuring));
    buttons.calipers.setAttribute("aria-pressed", "false");
    const heard = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: up, keydown: key };
    for (const [name, action] of Object.entries(heard)) canvas.addEventListener(name, action);
    canvas.addEventListener("wheel", wheel, { passive: false });
    const sized = new ResizeObserver(redraw), themed = new MutationObserver(() => { describe(); redraw(); });
    sized.observe(host);
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    update(options);
    draw();

    return {
      canvas,
      update,
      get view() { return view.slice(); },
      get seconds() { return seconds(); },
      place(t, lead) {
        const i = o.leads.indexOf(lead);
        return { x: xOf(t, column(i)), y: zeroOf(i) };
      },
      destroy() {
        sized.disconnect();
        themed.disconnect();
        cancelAnimationFrame(due);
        root.remove();
      },
    };
  }

  window.EcgChart = {
    create,
    THEMES,
    int8: (base64) => new Int8Array(bytes(base64).buffer),
    int16: (base64) => new Int16Array(bytes(base64).buffer),
  };
})();
