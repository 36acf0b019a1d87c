// The status page: asks every two seconds.

import { bytes, deviceText, element, request } from "./common.js";

const SECONDS = 2;
const byId = (id) => document.getElementById(id);

function card(title, state, lines, share) {
  const made = element("div", { class: "card" }, element("h3", {}, title));
  if (state) made.append(element("p", { class: `state ${state.kind}` }, state.text));
  for (const line of lines) made.append(element("p", { class: "muted" }, line));
  if (share !== null && Number.isFinite(share)) {
    made.append(element("meter", { min: 0, max: 1, high: 0.85, value: share, "aria-label": `${title}, share in use` }));
  }
  return made;
}

function deviceCard(entry) {
  const worker = entry.worker;
  const known = worker.devices ?? [];
  const wanted = entry.device === "auto" ? worker.automatic_device : entry.device;
  const device = known.find((one) => one.name === wanted) ?? known.find((one) => one.name.startsWith(wanted));
  const lines = [];
  let state = { kind: "starting", text: "starts" };
  let share = null;
  if (worker.sentence) {
    state = { kind: "bad", text: "cannot work" };
    lines.push(worker.sentence);
  } else if (entry.job) state = { kind: "busy", text: `works on ${entry.job}` };
  else if (device) state = { kind: "free", text: "free" };
  if (device && device.total_bytes) {
    lines.push(`${bytes(device.free_bytes)} of ${bytes(device.total_bytes)} free`);
    if (device.free_bytes !== null) share = 1 - device.free_bytes / device.total_bytes;
  }
  return card(deviceText(device ? device.label : entry.device), state, lines, share);
}

function ago(seconds) {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${(seconds / 3600).toFixed(1)} h ago`;
}

const STATES = {
  done: ["free", "done"],
  running: ["busy", "running"],
  waiting: ["starting", "waiting"],
  cancelled: ["starting", "cancelled"],
  input: ["bad", "bad input"],
  out_of_memory: ["bad", "out of memory"],
};

function row(job) {
  const percent = job.state === "running" && job.fraction !== null ? ` ${Math.round(100 * job.fraction)} %` : "";
  const [kind, state] = STATES[job.state] ?? ["bad", "failed"];
  return element("tr", {},
    element("td", {}, element("code", {}, job.job)),
    element("td", {}, job.kind),
    element("td", {}, element("span", { class: `state ${kind}` }, state)),
    element("td", {}, job.step && job.state === "running" ? job.step + percent : "–"),
    element("td", { class: "number" }, job.seconds === null ? "–" : job.seconds.toFixed(1)),
    element("td", {}, ago(job.age_seconds)));
}

function show(status) {
  const limits = status.limits;
  const busy = status.devices.filter((entry) => entry.job).length;
  const devices = status.devices.length === 1 ? (busy ? "The device is" : "No device is") : `${busy} of ${status.devices.length} devices`;
  const waiting = status.waiting === 1 ? "1 job waits" : `${status.waiting} jobs wait`;
  byId("summary").textContent = status.stopping
    ? "The server is about to stop and takes no more jobs."
    : `${devices} at work, ${waiting}. Version ${status.version}.`;
  byId("devices").replaceChildren(...status.devices.map(deviceCard));
  const memory = status.memory;
  byId("machine").replaceChildren(
    card("Queue", null, [`${status.waiting} of at most ${limits.waiting_jobs} jobs wait`], status.waiting / limits.waiting_jobs),
    card("Memory", null, [`${bytes(memory.free_bytes)} of ${bytes(memory.total_bytes)} free`],
      memory.free_bytes === null ? null : 1 - memory.free_bytes / memory.total_bytes),
    card("Files of jobs", null, [`${bytes(status.stored_bytes)} of at most ${bytes(limits.storage_bytes)}`,
      `Kept for ${Math.round(limits.keep_seconds / 60)} min, then removed`], status.stored_bytes / limits.storage_bytes));
  byId("jobs").replaceChildren(...status.jobs.map(row));
  byId("no-jobs").hidden = status.jobs.length > 0;
}

async function update() {
  try {
    show(await (await request("/v1/status")).json());
  } catch (error) {
    byId("summary").textContent = `The server does not answer (${error.message}); trying again.`;
  }
  setTimeout(update, 1000 * SECONDS);
}

update();
