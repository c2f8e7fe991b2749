"use strict";
// Reads a reader's own ECG in the page: a CSV with a header of lead names, or a WFDB pair (.hea and .dat, formats 16,
// 212, 24 and 32). Nothing leaves the page. What a file does not state (rate, unit) is null, and the page asks.
//
//   EcgFiles.read(files)  -> Promise of {name, leads: twelve Float32Arrays, fs: Hz or null, unit: "mV" or null};
//                            values are in mV where the unit is "mV", else as they stand in the file
//   EcgFiles.Unreadable   the error that it throws: its message names the file and what helps
window.EcgFiles = (() => {
  class Unreadable extends Error {}

  const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
  const LAWS = { // of Einthoven and Goldberger
    III: (i, ii) => ii - i, aVR: (i, ii) => -(i + ii) / 2, aVL: (i, ii) => i - ii / 2, aVF: (i, ii) => ii - i / 2,
  };
  const PER_UNIT = { mv: 1, uv: 1e-3, "µv": 1e-3, "μv": 1e-3, nv: 1e-6, v: 1000 };
  const MISSING = new Set(["", "-", "nan", "-nan", "na", "n/a", "<na>", "#n/a", "#na", "null", "none"]);
  const LARGEST = 64 * 2 ** 20; // bytes of a file that a page can hold with ease
  const HEADER = "write one, such as I,II,III,aVR, ...";
  const OTHERS = "`ecgstudy explain` reads other formats";

  // --- names --------------------------------------------------------------------------------------------------------

  function leadOf(text) {
    const name = text.trim().toLowerCase().replace(/^mdc_ecg_lead_/, "").replace(/^(ecg[ _-]?lead|lead|ecg)[ _-]?/, "");
    const limb = /^(?:[dl][ _-]?)?(i{1,3}|(?<=^[dl][ _-]?)[123])$/.exec(name);
    if (limb) return LEADS[/\d/.test(limb[1]) ? limb[1] - 1 : limb[1].length - 1];
    const other = /^(av[rlf]|v[1-6]|av[ _-][rlf]|v[ _-][1-6])$/.exec(name);
    if (!other) return null;
    return LEADS.find((lead) => lead.toLowerCase() === other[1].replace(/[ _-]/, ""));
  }

  function leadAndUnit(text) { // "I (mV)", "V1_uV", "II [µV]"
    const found = /^(.*\S)\s*[[(]\s*([munµμ]?v)\s*[\])]$|^(.*[^\s_/])[\s_/]+([munµμ]v)$/i.exec(text.trim());
    return found ? [found[1] || found[3], (found[2] || found[4]).toLowerCase()] : [text, null];
  }

  function notAVoltage(name, unit) {
    return `${name} has a lead in ${unit.slice(0, 20)}, which is no voltage: correct its unit`;
  }

  function inOrder(name, found) { // Map of lead to samples
    const [one, two] = [found.get("I"), found.get("II")];
    for (const [lead, law] of Object.entries(one && two ? LAWS : {})) {
      if (!found.has(lead)) found.set(lead, one.map((v, i) => law(v, two[i])));
    }
    const lacking = LEADS.filter((lead) => !found.has(lead));
    if (lacking.length) {
      const remedy = "the network needs twelve leads (III, aVR, aVL and aVF follow from I and II): export the others";
      throw new Unreadable(`${name} lacks ${lacking.join(", ")}: ${remedy}`);
    }
    return LEADS.map((lead) => found.get(lead));
  }

  // --- CSV ----------------------------------------------------------------------------------------------------------

  function csv(name, text) {
    const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
    let fs = null, first = 0;
    for (; first < lines.length && /^\s*(#|$)/.test(lines[first]); first++) {
      const stated = /(?:\bfs|rate|frequency)\b\D{0,12}(\d+(?:\.\d+)?)/i.exec(lines[first]);
      if (stated) fs = Number(stated[1]);
    }
    if (first >= lines.length) throw new Unreadable(`${name} is empty: export it again`);
    const separator = [";", "\t", ","].find((one) => lines[first].split(one).length >= 8);
    if (!separator) {
      throw new Unreadable(`${name} has no header of lead names in its first line: ${HEADER}`);
    }
    const cells = (line) => line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));
    const missing = (cell) => MISSING.has(cell.toLowerCase());
    const number = (cell) => (missing(cell) ? NaN : Number(separator === "," ? cell : cell.replace(",", ".")));
    const header = cells(lines[first]).map(leadAndUnit), columns = header.map(([text]) => leadOf(text));
    if (!columns.some(Boolean)) {
      throw new Unreadable(`${name} names no lead in its first line: ${HEADER}`);
    }
    let units = header.map(([, unit]) => unit), at = first + 1;
    const second = cells(lines[at] || "").map((cell) => cell.replace(/^[[(]|[\])]$/g, "").toLowerCase());
    const lettered = second.some((cell) => cell in PER_UNIT);
    if (lettered) { units = columns.map((lead, c) => (lead ? second[c] : null)); at++; }
    const rows = lines.slice(at).map((line, i) => [i + at + 1, line]).filter(([, line]) => line.trim());
    const samples = columns.map(() => new Float32Array(rows.length)), time = new Float64Array(rows.length);
    const counts = /^(time|t|seconds?|s|ms|elapsed)\b/i;
    const clock = header.findIndex(([text], c) => !columns[c] && counts.test(text.trim()));
    rows.forEach(([line, written], r) => {
      const own = cells(written);
      if (own.length !== columns.length) {
        const found = `${name}, line ${line} has ${own.length} columns, and the header ${columns.length}`;
        throw new Unreadable(`${found}: export it again`);
      }
      columns.forEach((lead, c) => {
        if (!lead && c !== clock) return;
        const value = number(own[c]);
        if (lead && Number.isNaN(value) && !missing(own[c])) {
          const found = `${name}, line ${line}: ${own[c].slice(0, 20)} is no number`;
          throw new Unreadable(`${found}; correct it or leave it empty`);
        }
        if (c === clock) time[r] = value;
        else samples[c][r] = value;
      });
    });
    if (clock >= 0 && rows.length > 2) {
      const stated = `${header[clock][0]} ${second[clock] || ""}`, perSecond = /\bms|milli/i.test(stated) ? 1000 : 1;
      const rate = (perSecond * (rows.length - 1)) / (time[rows.length - 1] - time[0]);
      if (Number.isFinite(rate) && rate > 0 && !(/^t(ime)?$/i.test(stated.trim()) && rate <= 1)) {
        fs = Math.abs(rate - Math.round(rate)) < 0.002 * rate ? Math.round(rate) : rate;
      }
    }
    const stated = columns.map((lead, c) => lead && units[c]).filter(Boolean);
    const strange = stated.find((unit) => !(unit in PER_UNIT));
    if (strange) throw new Unreadable(notAVoltage(name, strange));
    if (stated.length) {
      columns.forEach((lead, c) => { samples[c] = samples[c].map((v) => v * PER_UNIT[(lead && units[c]) || "mv"]); });
    }
    const found = new Map();
    columns.forEach((lead, c) => {
      if (!lead) return;
      if (found.has(lead)) throw new Unreadable(`${name} has lead ${lead} twice: leave one column of it`);
      found.set(lead, samples[c]);
    });
    return { name, leads: inOrder(name, found), fs, unit: stated.length ? "mV" : null };
  }

  // --- WFDB ---------------------------------------------------------------------------------------------------------

  const DECODERS = { // format: [bytes of so many values, value at place i, the number that stands for a missing one]
    16: [(n) => 2 * n, (view, i) => view.getInt16(2 * i, true), -32768],
    24: [(n) => 3 * n, (view, i) => view.getUint16(3 * i, true) + 65536 * view.getInt8(3 * i + 2), -8388608],
    32: [(n) => 4 * n, (view, i) => view.getInt32(4 * i, true), -2147483648],
    212: [(n) => Math.ceil(1.5 * n), (view, i) => {
      const at = 3 * (i >> 1), high = view.getUint8(at + 1);
      const value = i % 2 ? view.getUint8(at + 2) + ((high & 0xf0) << 4) : view.getUint8(at) + ((high & 0x0f) << 8);
      return value > 2047 ? value - 4096 : value;
    }, -2048],
  };

  function header(name, text) {
    const lines = text.split(/\r\n|\n|\r/).filter((line) => line.trim() && !line.startsWith("#"));
    const record = /^(\S+?)(\/\d+)?\s+(\d+)(?:\s+([\d.]+)(?:\/\S*)?(?:\s+(\d+))?)?/.exec(lines[0] || "");
    if (!record) {
      const found = `${name} is no WFDB header, whose first line has a name and a number of leads`;
      throw new Unreadable(`${found}: export it again`);
    }
    if (record[2]) throw new Unreadable(`${name} is in segments, which this page does not read; ${OTHERS}`);
    const signals = lines.slice(1, 1 + Number(record[3])).map((line) => {
      // File, format, gain, resolution, zero, first value, checksum, block size, name; from the gain on they may lack.
      const [file, stored, gained, , zero, , , , ...words] = line.trim().split(/\s+/);
      const [, format, odd, offset] = /^(\d+)([x:][\dx:]+)?(?:\+(\d+))?$/.exec(stored || "") || [];
      const [, gain, baseline, unit] = /^([\d.eE+-]+)?(?:\((-?\d+)\))?(?:\/(\S+))?$/.exec(gained || "") || [];
      if (!format) throw new Unreadable(`${name}: "${line.slice(0, 30)}" describes no lead; export the record again`);
      if (odd || !(format in DECODERS)) {
        const found = `${name} is stored in format ${format}${odd || ""}`;
        throw new Unreadable(`${found}, which this page does not read; ${OTHERS}`);
      }
      return {
        file, format, offset: Number(offset || 0), gain: Number(gain) || 200, baseline: Number(baseline ?? zero ?? 0),
        unit: (unit || "mV").toLowerCase(), lead: leadOf(words.join(" ")),
      };
    });
    if (signals.length < Number(record[3])) {
      throw new Unreadable(`${name} describes ${signals.length} of ${record[3]} leads: export it again`);
    }
    return { fs: Number(record[4]) || null, samples: Number(record[5]) || 0, signals };
  }

  function wfdb(name, text, buffers) {
    const { fs, samples, signals } = header(name, text), found = new Map();
    for (const file of new Set(signals.map((one) => one.file))) {
      const own = signals.filter((one) => one.file === file), buffer = buffers.get(file.toLowerCase());
      const lacks = `${name} keeps its samples in ${file}, which was not given`;
      if (!buffer) throw new Unreadable(`${lacks}: choose both together`);
      const [size, value, gap] = DECODERS[own[0].format], bytes = buffer.byteLength - own[0].offset;
      const there = samples || Math.floor(bytes / (size(2 * own.length) / 2));
      if (bytes < size(there * own.length)) {
        throw new Unreadable(`${file} is shorter than ${name} says: copy it again, it was cut off`);
      }
      const view = new DataView(buffer, own[0].offset);
      own.forEach(({ lead, gain, baseline, unit }, s) => {
        if (!lead) return;
        if (!(unit in PER_UNIT)) throw new Unreadable(notAVoltage(name, unit));
        if (found.has(lead)) throw new Unreadable(`${name} has lead ${lead} twice: leave one of them`);
        found.set(lead, Float32Array.from({ length: there }, (_, i) => {
          const raw = value(view, i * own.length + s);
          return raw === gap ? NaN : ((raw - baseline) / gain) * PER_UNIT[unit];
        }));
      });
    }
    return { name, leads: inOrder(name, found), fs, unit: "mV" };
  }

  // --- files --------------------------------------------------------------------------------------------------------

  async function read(files) {
    const given = [...files], ending = (file) => file.name.toLowerCase().split(".").at(-1);
    const large = given.find((file) => file.size > LARGEST);
    if (large) throw new Unreadable(`${large.name} is larger than ${LARGEST >> 20} MB: export a stretch of it`);
    const head = given.filter((file) => ending(file) === "hea");
    const table = given.filter((file) => ["csv", "txt", "tsv"].includes(ending(file)));
    if (head.length + table.length > 1) {
      throw new Unreadable(`${given.map((file) => file.name).join(", ")} are several records: choose one`);
    }
    if (head.length) {
      const others = given.filter((file) => file !== head[0]), buffers = new Map();
      for (const file of others) buffers.set(file.name.toLowerCase(), await file.arrayBuffer());
      return wfdb(head[0].name, await head[0].text(), buffers);
    }
    if (table.length) return csv(table[0].name, await table[0].text());
    const [one] = given;
    if (!one) throw new Unreadable("no file was given: choose one");
    if (ending(one) === "dat") {
      throw new Unreadable(`${one.name} is half of a record: choose its .hea together with it`);
    }
    throw new Unreadable(`${one.name} is neither a .csv nor a .hea with its .dat; ${OTHERS}`);
  }

  return { read, Unreadable, leadOf };
})();
