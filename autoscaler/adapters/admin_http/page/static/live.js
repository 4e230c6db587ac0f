"use strict";
// Replaces the parts of the page that change, as the daemon sends them after each cycle. Where
// events do not arrive, the page is read again instead.
(() => {
  const POLL_MS = 10000, RETRY_MS = 60000, QUIET_MS = 90000;
  const status = document.getElementById("connection");
  let source = null, polling = null, retrying = null, lastAt = Date.now();

  function say(text, lost) {
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("lost", lost);
  }

  // The link or the button that has the focus is found again by where it leads.
  function focused(part) {
    const active = document.activeElement;
    if (!part.contains(active)) return null;
    const links = [...part.querySelectorAll("a, summary, [tabindex]")];
    return { href: active.getAttribute("href"), position: links.indexOf(active) };
  }

  function refocus(part, former) {
    const links = [...part.querySelectorAll("a, summary, [tabindex]")];
    const same = former.href && links.find((each) => each.getAttribute("href") === former.href);
    (same || links[former.position] || part).focus({ preventScroll: true });
  }

  function replace(name, html) {
    const part = document.querySelector(`[data-live="${name}"]`);
    if (!part || part.dataset.html === html) return;
    const selected = window.getSelection();
    if (selected && !selected.isCollapsed && part.contains(selected.anchorNode)) return;
    const former = focused(part);
    const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
    const scrolled = [...part.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
    part.innerHTML = html;
    part.dataset.html = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    [...part.querySelectorAll(".scroll")].forEach((each, i) => {
      if (scrolled[i]) [each.scrollLeft, each.scrollTop] = scrolled[i];
    });
    if (former) refocus(part, former);
  }

  function apply(fragments) {
    lastAt = Date.now();
    for (const [name, html] of Object.entries(fragments)) replace(name, html);
  }

  // The sentence of a page that says why there is nothing to show, such as an unknown deployment.
  const problemOf = (page) => page.querySelector("[data-problem]")?.textContent;

  async function poll() {
    let response, text;
    try {
      response = await fetch(location.href, { headers: { Accept: "text/html" } });
      text = await response.text();
    } catch {
      if (polling !== null) say("the daemon does not respond; what is shown is old", true);
      return;
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    const problem = response.ok ? null : problemOf(page) || `the daemon responds with ${response.status}`;
    const shown = problemOf(document);
    if (shown && (response.ok || problem !== shown)) return location.reload();
    const parts = page.querySelectorAll("[data-live]");
    apply(Object.fromEntries([...parts].map((each) => [each.dataset.live, each.innerHTML])));
    if (response.ok) document.dispatchEvent(new CustomEvent("stale-charts"));
    if (polling === null) return;
    if (response.ok || shown) say("polled every 10 s", false);
    else say(`${problem}; what is shown is old`, true);
  }

  function fallBack() {
    source?.close();
    source = null;
    if (polling === null) {
      polling = setInterval(poll, POLL_MS);
      poll();
    }
    clearTimeout(retrying);
    retrying = setTimeout(connect, RETRY_MS);
  }

  function connect() {
    if (!("EventSource" in window) || !document.body.dataset.events) return fallBack();
    source = new EventSource(document.body.dataset.events);
    source.addEventListener("open", () => {
      clearInterval(polling);
      polling = null;
      lastAt = Date.now();
      say("live", false);
    });
    source.addEventListener("cycle", (event) => {
      const message = JSON.parse(event.data);
      apply(message.fragments);
      say("live", false);
      if (message.series) {
        document.dispatchEvent(new CustomEvent("points", { detail: message.series }));
      }
    });
    source.addEventListener("problem", (event) => {
      lastAt = Date.now();
      say(JSON.parse(event.data).error, true);
    });
    source.addEventListener("error", fallBack);
  }

  setInterval(() => {
    if (source && Date.now() - lastAt > QUIET_MS) fallBack();
  }, POLL_MS);
  window.addEventListener("pagehide", () => source?.close());
  window.addEventListener("pageshow", (event) => event.persisted && fallBack());
  connect();
})();
