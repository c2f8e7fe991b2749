/* A 12-lead ECG on chart paper, in a canvas: to look at, to zoom, to measure and to mark. A plain script that needs
no module, no server and no other file but ecg-chart.css, which lays out what is around it.

    const chart = EcgChart.create(element, options);  // element: an empty block, whose width the chart takes
    chart.update({map: other});                       // any of the options; what is left out stays
    chart.destroy();

Options (times in seconds from the beginning of the record):

    fs, leads, signals  rate in Hz, names, and for each lead a Float32Array of mV, all of one length
    map      null or {fs, values}: an array with one number a time step, or an array of such arrays, one a lead.
             What is positive is laid under the trace, as a share of the map's largest value.
    key      null or [{leads: [names], spans: [[from, to], ...]}, ...]: brackets below these leads
    marks    [[from, to], ...]: the reader's, across all leads
    mode     "pan" (dragging moves the view) or "mark" (dragging marks a time)
    view     [from, to] that is seen; without one, as much as fits at 25 mm/s
    columns  1 or 2 columns of leads; 0: as many as fit
    tools    false leaves out the buttons
    words    {map, key, marks}: what the legend calls them
    label    what is shown, for whoever cannot see it
    onview([from, to]), onmark([from, to]), oncalipers({ms, mV} or null)  when they have changed
    onclick(time, lead)  when a moment was clicked, or (lead "") Delete was pressed at the cursor of the marks

    chart.view, chart.seconds, chart.canvas    what is seen, how long the record is, and where
    chart.place(time, lead)                    {x, y} of a lead's zero in the canvas, in CSS pixels
    EcgChart.bytes(base64), EcgChart.int16(base64)    Uint8Array, and little-endian Int16Array

Keys, when the chart has the focus: arrows move, + and - zoom, 0 shows everything, Home and End lead to the ends, C
takes the calipers. Marking: arrows move a cursor, Space begins and ends a mark. Calipers: arrows move one end, Space
takes the other, Escape puts them away. The wheel zooms with Ctrl, or when the chart has the focus; two fingers zoom. */

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
    mark: "Arrow keys move the cursor, Space begins and ends a mark, Delete removes one, plus and minus zoom.",
  };
  const SHORTEST = 0.5, OVERVIEW = 46, GAP = 10; // seconds; pixels
  let count = 0;

  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  const colours = () => THEMES[document.documentElement.dataset.theme === "dark" ? "dark" : "light"];
  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

  function make(tag, name, parent, text = "") {
    const one = parent.appendChild(document.createElement(tag));
    Object.assign(one, { className: name, textContent: text });
    return one;
  }

  function median(values) {
    const sorted = Float32Array.from(values).sort();
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  }

  function line(p, colour, width, ...points) {
    Object.assign(p, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
    p.beginPath();
    for (const [x, y] of points) p.lineTo(x, y);
    p.stroke();
  }

  function create(host, options) {
    const o = {
      fs: 250, leads: [], signals: [], map: null, key: null, marks: [], mode: "pan", columns: 0, tools: true,
      label: "12-lead ECG", words: {},
    };
    const root = make("div", "ecg-chart", host), bar = make("div", "ecg-tools", root);
    const canvas = make("canvas", "ecg-paper", root), foot = make("p", "ecg-foot", root);
    const legend = make("span", "", foot), said = make("span", "ecg-said", foot), help = make("p", "ecg-hidden", root);
    const fingers = new Map();
    let g = {}, view = null, chosen = false, zero = [], levels = null, brackets = new Map(), due = 0;
    let measuring = false, calipers = null, cursor = null, begun = null, drag = null, pinch = null;

    const seconds = () => (o.signals.length ? o.signals[0].length / o.fs : 10);
    const say = (text) => { said.textContent = text; };
    const redraw = () => { due = due || requestAnimationFrame(draw); };

    // --- geometry ----------------------------------------------------------------------------------------------------

    function measure() {
      const width = Math.max(200, Math.floor(root.clientWidth)), columns = o.columns || (width >= 640 ? 2 : 1);
      const across = width / columns, rows = Math.ceil(o.leads.length / columns) || 1;
      const mm = clamp(across / 140, 2.2, 3.78), [high, base] = columns === 2 ? [25, 15] : [20, 10]; // millimetres
      g = { width, columns, across, rows, mm, gutter: 8 * mm, row: high * mm, base: base * mm, body: rows * high * mm };
      g.height = Math.ceil(g.body + GAP + OVERVIEW);
      const natural = Math.min(seconds(), (across - g.gutter) / (25 * mm)), from = view ? view[0] : 0;
      if (!chosen) view = [Math.min(from, seconds() - natural), Math.min(from + natural, seconds())];
      g.second = (across - g.gutter) / (view[1] - view[0]);
    }

    const column = (lead) => Math.floor(lead / g.rows);
    const zeroOf = (lead) => (lead % g.rows) * g.row + g.base;
    const xOf = (t, col) => col * g.across + g.gutter + (t - view[0]) * g.second;
    const yOf = (mV, lead) => zeroOf(lead) - mV * 10 * g.mm;

    function at(event) {
      const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      const col = clamp(Math.floor(x / g.across), 0, g.columns - 1);
      const lead = Math.min(col * g.rows + clamp(Math.floor(y / g.row), 0, g.rows - 1), o.leads.length - 1);
      const t = clamp(view[0] + (x - col * g.across - g.gutter) / g.second, 0, seconds());
      return { x, y, t, lead, mV: (zeroOf(lead) - y) / (10 * g.mm) };
    }

    function look(from, to, quiet) {
      const span = clamp(to - from, Math.min(SHORTEST, seconds()), seconds()), first = clamp(from, 0, seconds() - span);
      chosen = true;
      view = [first, first + span];
      redraw();
      if (quiet) return;
      say(`${view[0].toFixed(1)} to ${view[1].toFixed(1)} s`);
      if (o.onview) o.onview(view.slice());
    }

    const pan = (by) => look(view[0] + by, view[1] + by);
    const zoom = (factor, t = (view[0] + view[1]) / 2) => look(t - (t - view[0]) / factor, t + (view[1] - t) / factor);

    // --- drawing -----------------------------------------------------------------------------------------------------

    function prepare() {
      zero = o.signals.map(median);
      const rows = o.map && (typeof o.map.values[0] === "number" ? [o.map.values] : o.map.values);
      const top = rows && rows.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 0);
      const level = (v) => (v > 0 ? STEPS.filter((step) => v >= step * top).length : 0);
      levels = rows && rows.map((row) => Uint8Array.from(row, level));
      brackets = new Map(o.leads.map((name) => [name, []]));
      for (const one of o.key || []) for (const name of one.leads) brackets.get(name).push(...one.spans);
      canvas.setAttribute("aria-label", o.label);
      help.textContent = HELP[o.mode];
      bar.hidden = !o.tools;
      canvas.style.touchAction = measuring ? "none" : "pan-y";
      canvas.style.cursor = measuring || o.mode === "mark" ? "crosshair" : "grab";
      describe();
    }

    function describe() {
      const c = colours();
      legend.textContent = "Small square: 40 ms, 0.1 mV. ";
      if (levels) legend.append(`${o.words.map || "Map"}: little `);
      for (const colour of levels ? c.levels : []) make("i", "ecg-box", legend).style.background = colour;
      if (levels) legend.append(" much. ");
      for (const [kind, there, colour] of [["key", o.key, c.key], ["marks", o.marks.length, c.mark]]) {
        if (!there) continue;
        make("i", `ecg-of-${kind}`, legend).style.borderColor = colour;
        legend.append(` ${o.words[kind] || { key: "answer key", marks: "your marks" }[kind]}. `);
      }
    }

    function draw() {
      due = 0;
      measure();
      const c = colours(), p = canvas.getContext("2d"), scale = window.devicePixelRatio, leads = [...o.leads.keys()];
      Object.assign(canvas, { width: Math.round(g.width * scale), height: Math.round(g.height * scale) });
      canvas.style.height = `${g.height}px`;
      p.setTransform(scale, 0, 0, scale, 0, 0);
      p.fillStyle = c.paper;
      p.fillRect(0, 0, g.width, g.body);
      p.fillRect(0, g.body + GAP, g.width, OVERVIEW);
      p.font = `${clamp(4.2 * g.mm, 11, 15)}px system-ui, sans-serif`;
      for (let col = 0; col < g.columns; col++) {
        const own = leads.filter((lead) => column(lead) === col), x = (t) => xOf(t, col), left = col * g.across;
        p.save();
        p.beginPath();
        p.rect(left + g.gutter, 0, g.across - g.gutter, g.body);
        p.clip();
        for (const lead of levels ? own : []) {
          shade(p, c, levels[levels.length > 1 ? lead : 0], x, view, zeroOf(lead) - g.base + 1, g.row - 2);
        }
        grid(p, c, col);
        for (const [a, b] of o.marks) band(p, c, x(a), x(b), 0, g.body);
        if (begun !== null && cursor !== null) band(p, c, x(begun), x(cursor), 0, g.body);
        for (const lead of own) curve(p, c, lead, view, x, (mV) => yOf(mV, lead), 1.3);
        for (const lead of own) for (const [a, b] of brackets.get(o.leads[lead])) bracket(p, c, x(a), x(b), lead);
        if (cursor !== null && o.mode === "mark") line(p, c.mark, 2, [x(cursor), 0], [x(cursor), g.body]);
        if (calipers && column(calipers.lead) === col) gauge(p, c, x);
        p.restore();
        for (const lead of own) name(p, c, lead, left);
      }
      overview(p, c);
    }

    function shade(p, c, own, x, [from, to], top, height) {
      const fs = o.map.fs, last = Math.min(own.length, Math.ceil(to * fs));
      for (let i = Math.floor(from * fs), end; i < last; i = end) {
        for (end = i + 1; end < last && own[end] === own[i];) end++;
        p.fillStyle = c.levels[own[i] - 1];
        if (own[i]) p.fillRect(x(i / fs), top, x(end / fs) - x(i / fs), height);
      }
    }

    function grid(p, c, col) {
      for (const [step, colour] of [[1, c.fine], [5, c.coarse]]) {
        const t = 0.04 * step, left = col * g.across + g.gutter, far = (col + 1) * g.across;
        Object.assign(p, { strokeStyle: colour, lineWidth: step === 5 ? 1 : 0.7 });
        p.beginPath();
        const draws = (x0, y0, x1, y1) => { p.moveTo(x0, y0); p.lineTo(x1, y1); };
        const first = t * g.second > 2.5 ? Math.ceil(view[0] / t) : Infinity;
        for (let i = first; i * t <= view[1]; i++) draws(xOf(i * t, col), 0, xOf(i * t, col), g.body);
        for (let y = 0; y <= g.body + 1; y += step * g.mm) draws(left, y, far, y);
        p.stroke();
      }
    }

    function curve(p, c, lead, [from, to], x, y, width) {
      const signal = o.signals[lead], first = Math.max(0, Math.floor(from * o.fs) - 1), points = [];
      const last = Math.min(signal.length - 1, Math.ceil(to * o.fs) + 1);
      for (let i = first; i <= last; i++) points.push([x(i / o.fs), y(signal[i] - zero[lead])]);
      line(p, c.ink, width, ...points);
    }

    function band(p, c, x0, x1, top, height) {
      p.fillStyle = c.fill;
      p.fillRect(Math.min(x0, x1), top, Math.abs(x1 - x0), height);
      for (const x of [x0, x1]) line(p, c.mark, 1.5, [x, top], [x, top + height]);
    }

    function bracket(p, c, x0, x1, lead) {
      const y = zeroOf(lead) - g.base + g.row - 3;
      line(p, c.key, 2.5, [x0, y - 7], [x0, y], [x1, y], [x1, y - 7]);
    }

    function name(p, c, lead, left) {
      const y = zeroOf(lead), pulse = [[1, 0], [2, 0], [2, 10], [6, 10], [6, 0], [7, 0]]; // 1 mV for 0.2 s at 25 mm/s
      line(p, c.ink, 1.2, ...pulse.map(([a, b]) => [left + a * g.mm, y - b * g.mm]));
      Object.assign(p, { strokeStyle: c.paper, lineWidth: 4, fillStyle: c.ink });
      p.strokeText(o.leads[lead], left + g.gutter + 4, y - g.base + 14);
      p.fillText(o.leads[lead], left + g.gutter + 4, y - g.base + 14);
    }

    function gauge(p, c, x) {
      const xs = calipers.t.map(x), ys = calipers.mV.map((mV) => yOf(mV, calipers.lead));
      for (const end of [0, 1]) {
        const width = end === calipers.end ? 2 : 1;
        line(p, c.caliper, width, [xs[end], 0], [xs[end], g.body]);
        line(p, c.caliper, width, [Math.min(...xs) - 12, ys[end]], [Math.max(...xs) + 12, ys[end]]);
      }
    }

    function overview(p, c) {
      const top = g.body + GAP, x = (t) => (t / seconds()) * g.width, lead = Math.max(0, o.leads.indexOf("II"));
      const most = levels && levels[0].map((_, i) => Math.max(...levels.map((row) => row[i])));
      if (most) shade(p, c, most, x, [0, seconds()], top, OVERVIEW);
      if (o.signals.length) curve(p, c, lead, [0, seconds()], x, (mV) => top + 28 - clamp(mV, -1, 2) * 11, 0.8);
      const spans = (o.key || []).flatMap((one) => one.spans), low = g.height - 3;
      for (const [a, b] of spans) line(p, c.key, 3, [x(a), low], [x(b), low]);
      for (const [a, b] of o.marks) band(p, c, x(a), x(b), top, OVERVIEW);
      Object.assign(p, { strokeStyle: c.ink, lineWidth: 2 });
      p.strokeRect(x(view[0]) + 1, top + 1, x(view[1]) - x(view[0]) - 2, OVERVIEW - 2);
    }

    // --- what the reader does ----------------------------------------------------------------------------------------

    function take(measured) {
      measuring = measured;
      calipers = null;
      gauges.setAttribute("aria-pressed", String(measuring));
      prepare();
      say(measuring ? "Drag from one point to another." : "");
      if (!measuring && o.oncalipers) o.oncalipers(null);
      redraw();
    }

    function tell() {
      const s = Math.abs(calipers.t[1] - calipers.t[0]), mV = calipers.mV[1] - calipers.mV[0];
      const rate = s > 0.2 ? `, ${Math.round(60 / s)} a minute` : "";
      say(`${o.leads[calipers.lead]}: ${Math.round(1000 * s)} ms, ${mV.toFixed(2).replace("-", "−")} mV${rate}`);
      if (o.oncalipers) o.oncalipers({ ms: 1000 * s, mV });
      redraw();
    }

    function down(event) {
      const place = at(event);
      if (event.button) return;
      fingers.set(event.pointerId, place.x);
      canvas.setPointerCapture(event.pointerId);
      const [a, b] = fingers.values();
      if (fingers.size === 2) {
        pinch = { span: view[1] - view[0], apart: Math.abs(a - b) || 1, t: place.t };
        drag = begun = cursor = null;
        return;
      }
      const kind = place.y > g.body + GAP / 2 ? "overview" : measuring ? "calipers" : o.mode;
      drag = { ...place, kind, view, moved: false };
      if (drag.kind === "calipers") calipers = { t: [drag.t, drag.t], mV: [drag.mV, drag.mV], lead: drag.lead, end: 1 };
      if (drag.kind === "overview") move(event);
    }

    function move(event) {
      if (!fingers.has(event.pointerId)) return;
      const { x, y } = at(event), span = view[1] - view[0];
      fingers.set(event.pointerId, x);
      if (pinch && fingers.size === 2) {
        const [a, b] = fingers.values();
        return zoom(span / ((pinch.span * pinch.apart) / Math.max(1, Math.abs(a - b))), pinch.t);
      }
      if (!drag) return;
      const by = (x - drag.x) / g.second, there = clamp(drag.t + by, 0, seconds()), middle = (x / g.width) * seconds();
      drag.moved = drag.moved || Math.hypot(x - drag.x, y - drag.y) > 4;
      if (drag.kind === "overview") look(middle - span / 2, middle + span / 2);
      else if (drag.moved && drag.kind === "pan") look(drag.view[0] - by, drag.view[1] - by);
      else if (drag.moved && drag.kind === "mark") {
        [begun, cursor] = [drag.t, there];
        say(`${Math.min(begun, cursor).toFixed(2)} to ${Math.max(begun, cursor).toFixed(2)} s`);
        redraw();
      } else if (drag.kind === "calipers") {
        [calipers.t[1], calipers.mV[1]] = [there, calipers.mV[0] - (y - drag.y) / (10 * g.mm)];
        tell();
      }
    }

    function up(event) {
      if (!fingers.delete(event.pointerId)) return;
      const one = drag, cancelled = event.type === "pointercancel"; // then the page scrolls
      pinch = drag = null;
      if (!one || (one.kind !== "mark" && one.kind !== "pan")) return;
      if (one.kind === "mark" && one.moved && !cancelled) mark();
      if (one.kind === "mark") begun = cursor = null;
      if (!one.moved && !cancelled && o.onclick) o.onclick(one.t, o.leads[one.lead]);
      redraw();
    }

    function mark() {
      const marked = [Math.min(begun, cursor), Math.max(begun, cursor)];
      begun = null;
      say(`Marked from ${marked[0].toFixed(2)} to ${marked[1].toFixed(2)} s`);
      if (marked[1] > marked[0] && o.onmark) o.onmark(marked);
    }

    function wheel(event) {
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      if (!sideways && !event.ctrlKey && document.activeElement !== canvas) return; // the page scrolls
      event.preventDefault();
      if (sideways) pan((Math.sign(event.deltaX || event.deltaY) * (view[1] - view[0])) / 10);
      else zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, at(event).t);
    }

    function key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const pressed = event.key.length > 1 ? event.key : event.key.toLowerCase(), span = view[1] - view[0];
      const side = { ArrowLeft: -1, ArrowRight: 1 }[pressed] || 0, rise = { ArrowUp: 1, ArrowDown: -1 }[pressed] || 0;
      const enter = pressed === " " || pressed === "Enter", actions = {
        "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => look(0, seconds()),
        Home: () => look(0, span), End: () => look(seconds() - span, seconds()), c: () => take(!measuring),
      };
      const act = actions[pressed] || (measuring ? gauging(pressed, side, rise, enter, event.shiftKey ? 10 : 1)
        : o.mode === "mark" ? marking(pressed, side, enter, event.shiftKey ? 5 : 1)
          : side && (() => pan(side * span * (event.shiftKey ? 0.5 : 0.1))));
      if (!act) return;
      event.preventDefault();
      act();
      redraw();
    }

    function gauging(pressed, side, rise, enter, times) {
      if (pressed === "Escape") return () => take(false);
      if (enter && calipers) return () => { calipers.end = 1 - calipers.end; };
      return (side || rise) && (() => {
        const middle = (view[0] + view[1]) / 2, lead = Math.max(0, o.leads.indexOf("II"));
        calipers = calipers || { t: [middle, middle], mV: [0, 0], lead, end: 1 };
        calipers.t[calipers.end] = clamp(calipers.t[calipers.end] + 0.004 * side * times, 0, seconds());
        calipers.mV[calipers.end] += 0.01 * rise * times;
        tell();
      });
    }

    function marking(pressed, side, enter, times) {
      if (pressed === "Escape") return () => { begun = null; };
      const removes = pressed === "Delete" || pressed === "Backspace", span = view[1] - view[0];
      return (side || enter || removes) && (() => {
        cursor = clamp((cursor === null ? view[0] + span / 2 : cursor) + 0.04 * side * times, 0, seconds());
        if (cursor < view[0] || cursor > view[1]) look(cursor - span / 2, cursor + span / 2, true);
        if (removes && o.onclick) o.onclick(cursor, "");
        if (enter && begun !== null) return mark();
        if (enter) begun = cursor;
        say(`Cursor at ${cursor.toFixed(2)} s${begun === null ? "" : `, mark from ${begun.toFixed(2)} s`}`);
      });
    }

    // --- life --------------------------------------------------------------------------------------------------------

    function tool(sign, word, action) {
      const one = Object.assign(make("button", "ecg-button", bar), { type: "button", onclick: action });
      if (sign) make("span", "", one, sign).setAttribute("aria-hidden", "true");
      make("span", sign ? "ecg-hidden" : "", one, word);
      return one;
    }

    function update(changed) {
      if (changed.signals && changed.signals !== o.signals) {
        calipers = cursor = begun = view = null;
        chosen = false;
      }
      Object.assign(o, changed);
      if (Object.keys(changed).some((name) => name !== "view")) prepare();
      if (changed.view) look(...changed.view, true);
      redraw();
    }

    help.id = `ecg-help-${++count}`;
    canvas.tabIndex = 0;
    for (const [one, attributes] of [
      [canvas, { role: "application", "aria-roledescription": "ECG chart", "aria-describedby": help.id }],
      [said, { role: "status" }], [bar, { role: "group", "aria-label": "View of the ECG" }],
    ]) for (const name in attributes) one.setAttribute(name, attributes[name]);
    tool("−", "Zoom out", () => zoom(1 / 1.5));
    tool("+", "Zoom in", () => zoom(1.5));
    tool("◀", "Earlier", () => pan((view[0] - view[1]) / 2));
    tool("▶", "Later", () => pan((view[1] - view[0]) / 2));
    tool("", "Whole record", () => look(0, seconds()));
    const gauges = tool("", "Calipers", () => take(!measuring));
    take(false);
    const heard = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: up, keydown: key };
    for (const [event, action] of Object.entries(heard)) canvas.addEventListener(event, action);
    canvas.addEventListener("wheel", wheel, { passive: false });
    const sized = new ResizeObserver(redraw), themed = new MutationObserver(() => { describe(); redraw(); });
    update(options);
    draw();
    sized.observe(host);
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });

    return {
      canvas, update,
      get view() { return view.slice(); },
      get seconds() { return seconds(); },
      place: (t, name) => ({ x: xOf(t, column(o.leads.indexOf(name))), y: zeroOf(o.leads.indexOf(name)) }),
      destroy() {
        for (const watch of [sized, themed]) watch.disconnect();
        cancelAnimationFrame(due);
        root.remove();
      },
    };
  }

  window.EcgChart = { create, THEMES, bytes, int16: (base64) => new Int16Array(bytes(base64).buffer) };
})();
