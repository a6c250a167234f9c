// Classic script in <head>: chooses the theme before the first paint, so that dark never flashes white.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const read = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const write = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode: not kept */ } };

  const apply = () => {
    const choice = read("streamer.theme");
    root.dataset.choice = choice === "light" || choice === "dark" ? choice : "auto";
    root.dataset.theme = root.dataset.choice === "auto" ? (dark.matches ? "dark" : "light") : root.dataset.choice;
    document.querySelector('meta[name="theme-color"]').content = root.dataset.theme === "dark" ? "#0e1215" : "#f4f3ef";
    dispatchEvent(new Event("themechange"));
  };

  const size = read("streamer.size");
  root.dataset.size = size === "l" || size === "xl" ? size : "m";
  apply();
  dark.addEventListener("change", apply);

  const order = { theme: ["auto", "light", "dark"], size: ["m", "l", "xl"] };
  const after = (kind, value) => order[kind][(order[kind].indexOf(value) + 1) % 3];
  addEventListener("DOMContentLoaded", () => {
    const theme = document.getElementById("theme");
    const text = document.getElementById("size");
    const label = () => {
      const name = { auto: "as the system", light: "light", dark: "dark" }[root.dataset.choice];
      theme.setAttribute("aria-label", `Theme: ${name}. Change`);
      theme.title = `Theme: ${name}`;
      theme.querySelector("use").setAttribute("href", { auto: "#i-auto", light: "#i-sun", dark: "#i-moon" }[root.dataset.choice]);
      const scale = { m: "normal", l: "large", xl: "very large" }[root.dataset.size];
      text.setAttribute("aria-label", `Caption size: ${scale}. Change`);
      text.title = `Caption size: ${scale}`;
    };
    theme.addEventListener("click", () => { write("streamer.theme", after("theme", root.dataset.choice)); apply(); label(); });
    text.addEventListener("click", () => {
      root.dataset.size = after("size", root.dataset.size);
      write("streamer.size", root.dataset.size);
      label();
    });
    label();
  });
})();
