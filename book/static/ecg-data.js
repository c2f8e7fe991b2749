/* Data that come as scripts, since a page that is opened from a file may fetch nothing else; and what pages share.

    EcgData.load(folder, name)  a promise of what NAME.js in the folder (an address that ends in /) gives
    EcgData.put(name, data)     what such a script calls
    EcgData.signals(record)     leads of a record ({leads, signals}) as Float32Arrays of mV, the same when asked again
    EcgData.make(tag, class name, parent, text)  an element
    EcgData.field(tag, label, parent)            a control (select, textarea ...) below its label
    EcgData.table(caption, parent)               a table without rows, which scrolls where it is too wide */

window.EcgData = (function () {
  "use strict";
  const asked = new Map(), waiting = new Map(), decoded = new WeakMap();
  let count = 0;

  function load(folder, name) {
    if (!asked.has(name)) {
      asked.set(name, new Promise((done, failed) => {
        const script = document.createElement("script");
        waiting.set(name, done);
        script.src = `${folder}${name}.js`;
        script.onerror = () => {
          asked.delete(name); // so that it is asked for again
          failed(new Error(`${name}.js could not be loaded`));
        };
        document.head.appendChild(script);
      }));
    }
    return asked.get(name);
  }

  function signals(record) {
    if (!decoded.has(record)) {
      const all = EcgChart.int16(record.signals), n = all.length / record.leads.length;
      const lead = (_, i) => Float32Array.from(all.subarray(i * n, (i + 1) * n), (microvolts) => microvolts / 1000);
      decoded.set(record, record.leads.map(lead));
    }
    return decoded.get(record);
  }

  function make(tag, name, parent, text = "") {
    const one = parent.appendChild(document.createElement(tag));
    return Object.assign(one, name ? { className: name, textContent: text } : { textContent: text });
  }

  function field(tag, label, parent) {
    const box = make("div", "ecg-field", parent), id = `ecg-field-${++count}`;
    make("label", "", box, label).htmlFor = id;
    return Object.assign(make(tag, "", box), { id });
  }

  function table(caption, parent) {
    const around = Object.assign(make("div", "table-container", parent), { tabIndex: 0 }); // it may scroll
    around.setAttribute("role", "region");
    around.setAttribute("aria-label", caption);
    const one = make("table", "ecg-answers", around);
    make("caption", "", one, caption);
    return one;
  }

  return { load, put: (name, data) => waiting.get(name)(data), signals, make, field, table };
})();
