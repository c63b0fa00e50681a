// The page is whole without this: it filters, remembers light or dark, and opens what a link or the printer needs.
"use strict";
(() => {
  const root = document.documentElement;
  const field = document.getElementById("filter");
  const only = document.getElementById("only");
  const found = document.getElementById("found");

  // Light and dark
  const store = (value) => {
    try {
      return value === undefined ? localStorage.getItem("ephemeral-ns-theme") : localStorage.setItem("ephemeral-ns-theme", value);
    } catch {
      return null; // a page from a file may have no storage
    }
  };
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  if (["light", "dark"].includes(store())) root.dataset.theme = store();
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    store(root.dataset.theme);
  });

  // Filter: every word must be in it
  const kinds = ["test", "namespace", "failure"];
  const things = [...document.querySelectorAll("[data-kind]")].map((node) => ({
    node,
    kind: node.dataset.kind,
    bad: node.classList.contains("bad"),
    text: null,
  }));
  const total = (kind) => things.filter((thing) => thing.kind === kind).length;
  const totals = Object.fromEntries(kinds.map((kind) => [kind, total(kind)]));
  const textOf = (thing) => (thing.text ??= (thing.node.textContent + " " + (thing.node.dataset.words || "")).toLowerCase());
  const lanes = [...document.querySelectorAll(".lane")];
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const failed = only.getAttribute("aria-pressed") === "true";
    const shown = Object.fromEntries(kinds.map((kind) => [kind, 0]));
    for (const thing of things) {
      const show = (!failed || thing.bad) && words.every((word) => textOf(thing).includes(word));
      thing.node.hidden = !show;
      if (show) shown[thing.kind] += 1;
    }
    for (const lane of lanes) lane.hidden = !lane.querySelector("[data-kind]:not([hidden])") && !lane.dataset.always;
    const told = kinds.map((kind) => `${shown[kind]} of ${totals[kind]} ${kind}s`).join(" · ");
    found.textContent = words.length || failed ? told : "";
  };
  let soon = 0;
  field.addEventListener("input", () => {
    clearTimeout(soon);
    soon = setTimeout(filter, 60);
  });
  only.addEventListener("click", () => {
    only.setAttribute("aria-pressed", String(only.getAttribute("aria-pressed") !== "true"));
    filter();
  });

  // Keys
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
      field.select();
    } else if (event.key === "Escape" && event.target === field) {
      field.value = "";
      filter();
      field.blur();
    }
  });

  // A link to something that is closed or filtered away opens it
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    target.hidden = false;
    if (target.tagName === "DETAILS") target.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // On paper every failure is open
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll(".failure:not([open])")];
    for (const node of closed) node.open = true;
  });
  addEventListener("afterprint", () => {
    for (const node of closed) node.open = false;
  });
})();
