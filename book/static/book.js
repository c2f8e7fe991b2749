// What pages do besides being read. Without scripts a figure is a link to its picture, a word a link to the glossary.
(() => {
  "use strict";

  // A figure opens at its own size; Escape, the button or a click beside it closes it.
  function enlarge(link) {
    const dialog = document.createElement("dialog");
    const close = document.createElement("button");
    const picture = new Image();
    dialog.className = "enlarged";
    dialog.setAttribute("aria-label", "Figure at its own size");
    close.textContent = "Close";
    picture.src = link.href;
    picture.alt = link.querySelector("img").alt;
    dialog.append(close, picture);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      link.focus();
    });
    document.querySelector("main").append(dialog);
    dialog.showModal();
  }

  // What an address points to is opened if it is folded.
  function unfold(hash) {
    const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
    for (let fold = target && target.closest("details"); fold; fold = fold.parentElement.closest("details")) {
      fold.open = true;
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.classList.contains("enlarge")) {
      event.preventDefault();
      enlarge(link);
    } else if (link.getAttribute("href")?.startsWith("#")) {
      unfold(link.hash);
    }
  });
  addEventListener("hashchange", () => unfold(location.hash));
  unfold(location.hash);

  // What scrolls sideways can be reached by the keyboard, and only that.
  const wide = ".cell_output .output, .pst-scrollable-table-container, .table-container, div.math, article pre";
  function reachable() {
    for (const part of document.querySelectorAll(wide)) {
      const scrolls = part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1;
      if (scrolls && !part.querySelector("a[href], button, input, select, [tabindex='0']")) {
        part.tabIndex = 0;
      } else {
        part.removeAttribute("tabindex");
      }
    }
  }
  addEventListener("load", reachable);
  addEventListener("resize", reachable);
  document.addEventListener("toggle", reachable, true);

  // A word of the glossary says what it means under the pointer or in focus. Escape closes it; the pointer may go there.
  const box = document.createElement("div");
  box.id = "ecgstudy-definition";
  box.setAttribute("role", "tooltip");
  box.hidden = true;
  document.querySelector("main")?.append(box);
  let word = null;
  let waiting = 0;
  function hide() {
    clearTimeout(waiting);
    word?.removeAttribute("aria-describedby");
    word = null;
    box.hidden = true;
  }
  function show(link) {
    hide();
    word = link;
    box.textContent = link.dataset.definition;
    link.setAttribute("aria-describedby", box.id);
    place();
  }
  function place() {
    const at = word.getClientRects()[0];
    // A word in focus may still be on its way into view.
    box.hidden = !at || at.bottom < 0 || at.top > innerHeight;
    if (box.hidden) return;
    const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 8));
    const below = at.bottom + box.offsetHeight + 8 < innerHeight;
    box.style.left = `${left}px`;
    box.style.top = `${below ? at.bottom : Math.max(8, at.top - box.offsetHeight)}px`;
  }
  const later = (what, ms) => {
    clearTimeout(waiting);
    waiting = setTimeout(what, ms);
  };
  document.addEventListener("mouseover", (event) => {
    const link = event.target.closest?.("a[data-definition]");
    if (link) {
      if (link === word) clearTimeout(waiting);
      else later(() => show(link), 150);
    } else if (event.target === box) clearTimeout(waiting);
    else if (word && word !== document.activeElement) later(hide, 300);
    else if (!word) clearTimeout(waiting);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.dataset?.definition) show(event.target);
    else hide();
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", () => word && place(), { passive: true });

  // A quiz: what is said to one's choice, and all of it once the right one was found. Without scripts it is folded.
  for (const question of document.querySelectorAll("fieldset.quiz-question")) {
    const check = question.querySelector("button.quiz-check");
    const said = question.querySelector(".quiz-said");
    const answers = question.querySelector("details.quiz-answers");
    check.hidden = false;
    answers.hidden = true;
    question.addEventListener("change", () => {
      said.replaceChildren();
      said.className = "quiz-said";
    });
    check.addEventListener("click", () => {
      const chosen = question.querySelector("input:checked");
      const told = chosen && answers.querySelector(`li[data-letter="${chosen.value}"]`);
      const right = told?.hasAttribute("data-right");
      const verdict = document.createElement("strong");
      verdict.textContent = !told ? "Choose an answer first." : right ? "Right. " : "Not this one. ";
      said.replaceChildren(verdict, ...(told ? [...told.querySelector("span.quiz-feedback").cloneNode(true).childNodes] : []));
      said.className = `quiz-said ${!told ? "" : right ? "quiz-right" : "quiz-wrong"}`;
      if (right) answers.hidden = false;
    });
    addEventListener("beforeprint", () => {
      answers.hidden = false;
      answers.open = true;
    });
  }
})();
