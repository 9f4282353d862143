// Keeps a page fresh: the server sends the page's main part whenever it changes, and the
// sections that differ are replaced. Times become local ones, and count-downs run.
"use strict";
(() => {
  const main = document.querySelector("main");
  const live = document.getElementById("live");
  const liveText = document.getElementById("live-text");
  const clock = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});
  const day = new Intl.DateTimeFormat(undefined, {year: "numeric", month: "short", day: "numeric"});
  let ahead = 0; // how far the server's clock is ahead of this one, in ms

  const setClock = (element) => {
    const now = Date.parse(element.dataset.now);
    if (now) ahead = now - Date.now();
  };

  // span writes a duration as the server does.
  const span = (ms) => {
    const s = Math.max(Math.round(ms / 1000), 0), two = (n) => String(n).padStart(2, "0");
    if (s < 60) return s + "s";
    if (s < 3600) return Math.floor(s / 60) + "m " + two(s % 60) + "s";
    if (s < 172800) return Math.floor(s / 3600) + "h " + two(Math.floor(s % 3600 / 60)) + "m";
    return Math.floor(s / 86400) + "d " + Math.floor(s % 86400 / 3600) + "h";
  };

  const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  const times = () => {
    const now = Date.now() + ahead;
    for (const t of document.querySelectorAll("time[datetime]")) {
      const at = new Date(t.dateTime);
      if (isNaN(at)) continue;
      if ("until" in t.dataset) set(t, span(at - now));
      else set(t, (day.format(at) === day.format(now) ? "" : day.format(at) + ", ") + clock.format(at));
      t.title = at.toLocaleString();
    }
  };

  const typing = (section) => {
    const a = document.activeElement;
    return a && section.contains(a) && (a.matches("input, textarea, select") || !document.getSelection().isCollapsed);
  };

  // replace puts a section in place of the one with the same id. What is open stays open,
  // and what has the focus keeps it.
  const replace = (old, fresh) => {
    if (typing(old)) return;
    const open = [...old.querySelectorAll("details[open][id]")].map((d) => d.id);
    const focus = document.activeElement && old.contains(document.activeElement) ? pathTo(old, document.activeElement) : null;
    old.className = fresh.className;
    old.replaceChildren(...fresh.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focus) at(old, focus)?.focus({preventScroll: true});
  };
  const pathTo = (root, e) => {
    const path = [];
    for (; e !== root; e = e.parentElement) path.unshift([...e.parentElement.children].indexOf(e));
    return path;
  };
  const at = (root, path) => path.reduce((e, i) => e && e.children[i], root);

  const update = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("main");
    if (!fresh) return;
    setClock(fresh);
    for (const section of fresh.querySelectorAll(":scope > section[id]")) {
      const old = document.getElementById(section.id);
      if (!old) { location.reload(); return; }
      if (source.get(section.id) === section.innerHTML + section.className) continue;
      source.set(section.id, section.innerHTML + section.className);
      replace(old, section);
    }
    times();
  };
  const source = new Map();

  const status = (name, text) => { live.className = "live " + name; set(liveText, text); };

  const follow = () => {
    const events = new EventSource(location.href);
    events.addEventListener("main", (e) => { update(e.data); status("on", "live"); });
    events.addEventListener("trouble", (e) => status("off", e.data));
    events.onerror = () => {
      status("off", "not live: no connection");
      if (events.readyState === EventSource.CLOSED) setTimeout(follow, 10000);
    };
    addEventListener("pagehide", () => events.close());
  };

  setClock(main);
  times();
  setInterval(times, 1000);
  if ("live" in main.dataset) follow();
  else live.hidden = true;
})();
