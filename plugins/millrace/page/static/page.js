"use strict";

// Five things: Airflow's light or dark colours, links that leave the frame, forms that trigger DAGs,
// a button that has a task run again, and parts of the page that stay up to date.

const RENEW_MS = 5000;
const RENEW_PENDING_MS = 500;

function followTheme() {
  let theme = null;
  try {
    theme = localStorage.getItem("theme"); // where Airflow's interface keeps the person's choice
  } catch {
    // Storage may be refused; then the system's choice counts.
  }
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  } else {
    delete document.documentElement.dataset.theme;
  }
}

// Airflow shows the page in a frame that may not navigate the window around it, so that window follows the link itself.
function leaveFrame(event) {
  const link = event.target.closest("a[data-away]");
  if (link === null || event.defaultPrevented || window.parent === window) {
    return;
  }
  let outer;
  try {
    outer = window.parent.document.createElement("a");
  } catch {
    return; // a frame of another site
  }
  event.preventDefault();
  outer.href = link.href;
  if (link.dataset.away === "new" || event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1) {
    outer.target = "_blank";
    outer.rel = "noopener";
  }
  outer.click();
}

const CONF = {
  lines: (text) => text.split("\n").map((line) => line.trim()).filter((line) => line !== ""),
  time: (text) => (text === "" ? null : `${text.length === 16 ? `${text}:00` : text}Z`),
  integer: (text) => Number.parseInt(text, 10),
  flag: (text) => text === "true",
  text: (text) => text,
};

// What is asked of Airflow's API: that a task of a run begins again with all behind it, or a run with what is filled in.
function question(form) {
  if (form.dataset.run !== undefined) {
    const again = { dry_run: false, only_failed: false, include_downstream: true };
    return ["clearTaskInstances", { ...again, dag_run_id: form.dataset.run, task_ids: [form.dataset.task] }];
  }
  const fields = [...form.elements].filter((field) => field.dataset.kind !== undefined);
  const conf = Object.fromEntries(fields.map((field) => [field.name, CONF[field.dataset.kind](field.value)]));
  return ["dagRuns", { logical_date: null, conf }];
}

// A run is asked for through Airflow's own API, with the login of the person, and Airflow decides whether they may.
async function trigger(event) {
  const form = event.target.closest("form[data-dag]");
  if (form === null) {
    return;
  }
  event.preventDefault();
  const output = form.querySelector("output");
  const button = form.querySelector("button");
  const airflow = document.body.dataset.airflow;
  const dag = encodeURIComponent(form.dataset.dag);
  const [path, body] = question(form);
  button.disabled = true;
  output.className = "";
  output.textContent = "Asking Airflow …";
  try {
    const answer = await fetch(`${airflow}/api/v2/dags/${dag}/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const content = await answer.json();
    if (answer.ok) {
      const run = form.dataset.run ?? content.dag_run_id;
      const link = document.createElement("a");
      link.href = `${airflow}/dags/${dag}/runs/${encodeURIComponent(run)}`;
      link.dataset.away = "";
      link.textContent = run;
      output.replaceChildren("Airflow has the run ", link);
    } else {
      output.className = "bad";
      const detail = typeof content.detail === "string" ? content.detail : JSON.stringify(content.detail);
      output.textContent = `Airflow refused (${answer.status}): ${detail}`;
    }
  } catch (error) {
    output.className = "bad";
    output.textContent = `Airflow does not answer: ${error.message}`;
  }
  button.disabled = false;
}

// Only a whole answer replaces the page where its parts are others: a broker that is away for once takes away no form.
function renewParts(next, whole) {
  const parts = new Map([...next.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));
  const shown = [...document.querySelectorAll("[data-live]")];
  if (whole && (shown.length !== parts.size || shown.some((part) => !parts.has(part.dataset.live)))) {
    const main = document.querySelector("main");
    if (!main.contains(document.activeElement)) {
      main.replaceChildren(...next.querySelector("main").childNodes);
    }
    return;
  }
  for (const part of shown) {
    const renewed = parts.get(part.dataset.live);
    if (renewed === undefined) {
      continue;
    }
    part.toggleAttribute("data-pending", renewed.hasAttribute("data-pending"));
    if (part.innerHTML === renewed.innerHTML) {
      continue;
    }
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    if (focused === null && part.contains(document.activeElement)) {
      continue; // a form that somebody fills
    }
    part.replaceChildren(...renewed.childNodes);
    if (focused !== null) {
      part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
  }
}

async function renew() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      const known = answer.ok || answer.status === 503; // a page without Kafka or MLflow is a page
      if (known) {
        renewParts(new DOMParser().parseFromString(await answer.text(), "text/html"), answer.ok);
      }
      document.body.classList.toggle("offline", !known);
    } catch {
      document.body.classList.add("offline");
    }
  }
  plan();
}

function plan() {
  if (document.querySelector("[data-live]") !== null) {
    setTimeout(renew, document.querySelector("[data-pending]") === null ? RENEW_MS : RENEW_PENDING_MS);
  }
}

followTheme();
window.addEventListener("storage", followTheme);
document.addEventListener("click", leaveFrame);
document.addEventListener("auxclick", leaveFrame);
document.addEventListener("submit", trigger);
document.addEventListener("DOMContentLoaded", plan);
