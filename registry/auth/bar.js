/* The bar on MLflow's page. It knows the address behind '#' and the public REST API, and nothing of MLflow's own elements.
   Names and comments are anybody's text: they are only ever set as textContent. */
"use strict";
(() => {
  const OURS = "lockgate-bar";
  const APPROVAL = "lockgate.approval", REQUEST = "lockgate.approval_request", DECISIONS = "lockgate.approvals";
  const SAID = /^\s*(approved|rejected)\s*(:|$)/i; // what the lines of the decisions say already
  const PENDING = "pending", AGAIN = 10000, LOOK = 500, MOST_LINKS = 5, MOST_FOUND = 100;
  const STYLE = `
    #${OURS} { position: fixed; left: 50%; transform: translateX(-50%); bottom: 16px; z-index: 900; width: max-content; max-width: min(92vw, 60em);
      box-sizing: border-box; display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; padding: 10px 16px;
      font: 14px/1.4 system-ui, sans-serif; color: #11171c; background: #fff; border: 1px solid #8a97a3;
      border-left: 6px solid #8a97a3; border-radius: 8px; box-shadow: 0 4px 16px #0004; overflow-wrap: anywhere; }
    #${OURS}.pending { border-left-color: #b26a00; } #${OURS}.approved { border-left-color: #1b5e20; }
    #${OURS}.rejected { border-left-color: #b71c1c; }
    #${OURS} .line { flex-basis: 100%; } #${OURS} .alert { color: #b71c1c; font-weight: 600; }
    #${OURS} input { font: inherit; color: inherit; background: transparent; border: 1px solid #6f7f8c; border-radius: 4px;
      padding: 5px 8px; width: 22em; max-width: 60vw; }
    #${OURS} button { font: inherit; padding: 5px 14px; border: 1px solid transparent; border-radius: 4px; color: #fff;
      cursor: pointer; } #${OURS} button:disabled { opacity: .5; cursor: default; }
    #${OURS} .yes { background: #1b5e20; } #${OURS} .no { background: #b71c1c; }
    #${OURS} a { color: #0b57a4; } #${OURS} :focus-visible { outline: 3px solid #4299e0; outline-offset: 2px; }
    .dark-mode #${OURS} { color: #e8ecf0; background: #1f272d; border-color: #5f7281; color-scheme: dark; }
    .dark-mode #${OURS}.pending { border-left-color: #ffb74d; } .dark-mode #${OURS}.approved { border-left-color: #81c784; }
    .dark-mode #${OURS}.rejected, .dark-mode #${OURS} .alert { color: #ff9e9e; } .dark-mode #${OURS} a { color: #8acaff; }
    .dark-mode #${OURS}.rejected { border-left-color: #ff8a80; color: #e8ecf0; }
    .dark-mode #${OURS} .yes { background: #2e7d32; } .dark-mode #${OURS} .no { background: #c62828; }`;

  let shown = "", loaded = 0, busy = false, drawn = "";

  async function api(method, path, body, headers) {
    const answer = await fetch("ajax-api/2.0/mlflow/" + path, {
      method, credentials: "same-origin", body: body && JSON.stringify(body),
      headers: { "Content-Type": "application/json", ...headers },
    });
    const text = await answer.text();
    let json = {};
    try { json = JSON.parse(text); } catch { json = { message: text }; }
    if (!answer.ok) throw new Error(json.message || `MLflow answered ${answer.status}`);
    return { json, vouched: answer.headers.get("X-Lockgate-Auth") === "1" };
  }

  function element(tag, text, put) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (put) put(made);
    return made;
  }

  /* Text from outside: what it says about its own direction ends with it. */
  const foreign = text => element("bdi", String(text));

  function frame(kind, label) {
    document.getElementById(OURS)?.remove();
    const bar = element("section");
    bar.id = OURS; bar.className = kind; bar.tabIndex = -1;
    bar.setAttribute("aria-label", label);
    bar.append(element("style", STYLE));
    document.body.append(bar);
    return bar;
  }

  function remove() { document.getElementById(OURS)?.remove(); drawn = ""; }

  function parsed(text, otherwise) { try { return JSON.parse(text) ?? otherwise; } catch { return otherwise; } }

  function inWords(seconds) {
    const s = Math.abs(seconds);
    if (s < 90) return `${Math.round(s)} s`;
    if (s < 5400) return `${Math.round(s / 60)} min`;
    return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
  }

  function where() {
    const found = location.hash.match(/^#\/models\/([^/?]+)\/versions\/(\d+)/);
    try { return found && { name: decodeURIComponent(found[1]), version: found[2] }; } catch { return null; }
  }

  async function pill() {
    const query = new URLSearchParams({ filter: "tags.`lockgate.approval` = 'pending'", max_results: MOST_FOUND });
    const all = (await api("GET", "model-versions/search?" + query)).json.model_versions || [];
    const found = all.filter(v => left(v) > 0).sort((a, b) => left(a) - left(b));
    return {
      print: JSON.stringify(found.map(v => [v.name, v.version])),
      draw: () => found.length ? drawPill(found, all.length === MOST_FOUND) : remove(),
    };
  }

  /* Seconds until what is asked expires; none where it has, or where nobody can read it: nobody decides on that. */
  function left(version) {
    const request = parsed((version.tags || []).find(t => t.key === REQUEST)?.value, {});
    return request.expires_at - Date.now() / 1000;
  }

  function drawPill(found, more) {
    const bar = frame("pending", "Approvals that are pending");
    bar.setAttribute("role", "status");
    bar.append(element("strong", `Approvals pending: ${found.length}${more ? " or more" : ""}`));
    for (const v of found.slice(0, MOST_LINKS)) bar.append(element("a", "", a => {
      a.href = `#/models/${encodeURIComponent(v.name)}/versions/${encodeURIComponent(v.version)}`;
      a.append(foreign(v.name), ` version ${v.version}`);
    }));
    if (found.length > MOST_LINKS) bar.append(element("span", `and ${found.length - MOST_LINKS} more`));
  }

  async function page(at) {
    const { json, vouched } = await api("GET", "model-versions/get?" + new URLSearchParams(at));
    const tags = Object.fromEntries((json.model_version.tags || []).map(t => [t.key, t.value]));
    const request = parsed(tags[REQUEST], {}), all = parsed(tags[DECISIONS], []);
    const decisions = (Array.isArray(all) ? all : []).filter(d => d && d.digest === request.digest);
    const it = { at, tags, request, decisions, vouched, asks: tags[APPROVAL] === PENDING && !!request.digest };
    const kept = [APPROVAL, REQUEST, DECISIONS, "lockgate.alert", "lockgate.author"].map(key => tags[key]);
    return { print: JSON.stringify([kept, late(it)]), draw: () => drawPage(it) };
  }

  const late = it => it.asks && Date.now() / 1000 >= it.request.expires_at;

  function drawPage(it) {
    const { tags, decisions } = it;
    if (!it.asks && !decisions.length && !tags["lockgate.alert"]) return remove();
    const last = decisions.length && !decisions[decisions.length - 1].approved ? "rejected" : "approved";
    const bar = frame(it.asks ? "pending" : decisions.length ? last : "rejected", "Approval of this version");
    if (tags["lockgate.alert"]) bar.append(element("span", tags["lockgate.alert"], e => { e.className = "line alert"; }));
    if (it.asks) question(bar, it);
    for (const d of decisions) bar.append(line(d, it.vouched));
    if (it.asks) answer(bar, it);
    else if (decisions.length && !SAID.test(tags[APPROVAL])) bar.append(foreign(tags[APPROVAL] || "Nothing is asked now."));
  }

  function question(bar, it) {
    const { name, version } = it.at, r = it.request, approved = it.decisions.filter(d => d.approved);
    bar.append(element("strong", "", e => e.append("Promote ", foreign(name), ` version ${version}?`)));
    bar.append(element("span", "", e => {
      const left = r.expires_at - Date.now() / 1000;
      e.append("Asked by rollout ", foreign(r.rollout), left > 0 ? `, expires in ${inWords(left)}` : `, expired ${inWords(left)} ago`);
      e.append(`, evidence ${String(r.digest).slice(0, 6)}…`);
      if (r.role) e.append(", for the role ", foreign(r.role));
      e.append(", registered by: ", tagsAuthor(it) ? foreign(tagsAuthor(it)) : "not known");
    }));
    if (r.required > 1) bar.append(element("span", "", e => {
      e.append(`${approved.length} of ${r.required} approved`);
      approved.forEach((d, i) => e.append(i ? ", " : ", by ", foreign(d.by)));
    }));
  }

  const tagsAuthor = it => it.tags["lockgate.author"];

  function line(d, vouched) {
    return element("span", "", e => {
      e.className = "line";
      e.append(element("strong", d.approved ? "Approved" : "Rejected"), " by ", foreign(d.by || "nobody known"));
      e.append(`, ${new Date(d.at * 1000).toLocaleString()}`);
      if (d.comment) e.append(": ", foreign(d.comment));
      if (d.note) e.append(" [", foreign(d.note), "]");
      e.append(vouched && d.by && d.signature ? " (identity verified)" : " (identity not verified)");
    });
  }

  function answer(bar, it) {
    const comment = element("input");
    comment.type = "text"; comment.maxLength = 2000; comment.placeholder = "Comment"; comment.setAttribute("aria-label", "Comment");
    const told = element("span", "", e => { e.className = "alert"; e.setAttribute("role", "alert"); });
    const buttons = [["Approve", "approved", "yes"], ["Reject", "rejected", "no"]].map(([label, value, style]) =>
      element("button", label, b => {
        b.type = "button"; b.className = style; b.disabled = late(it);
        b.addEventListener("click", () => decide(it, value, comment.value.trim(), { buttons, told }));
      }));
    if (late(it)) told.textContent = "Too late: the pipeline asks again, or rolls back.";
    bar.append(comment, ...buttons, told);
  }

  async function decide(it, value, comment, { buttons, told }) {
    buttons.forEach(b => { b.disabled = true; });
    told.textContent = "";
    try {
      const tag = { ...it.at, key: APPROVAL, value: comment ? `${value}: ${comment}` : value };
      await api("POST", "model-versions/set-tag", tag, { "X-Lockgate-Request": it.request.digest });
      drawn = "";
      await load();
      document.getElementById(OURS)?.focus();
    } catch (error) {
      told.textContent = error.message;
      buttons.forEach(b => { b.disabled = late(it); });
    }
  }

  /* Drawn anew only when something changed: nobody loses the comment that they are writing. */
  async function load() {
    const key = location.hash.split("?")[0], at = where();
    const found = await (at ? page(at) : pill());
    if (key !== location.hash.split("?")[0]) return;
    const print = key + found.print;
    if (print !== drawn || !document.getElementById(OURS)) { found.draw(); drawn = print; }
  }

  async function look() {
    const key = location.hash.split("?")[0];
    if (key !== shown) { shown = key; loaded = 0; remove(); }
    if (busy || document.hidden || Date.now() - loaded < AGAIN) return;
    busy = true; loaded = Date.now();
    try { await load(); } catch (error) { console.debug("lockgate:", error.message); } finally { busy = false; }
  }

  setInterval(look, LOOK);
  look();
})();
