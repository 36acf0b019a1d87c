// The page that registers two volumes: uploads, asks, follows, shows the report.

import { bytes, deviceText, element, newKey, refusal, request, token } from "./common.js";

const byId = (id) => document.getElementById(id);
const KEPT = "mmln-job";
const CLIENT = newKey();
let limits = null;
let job = null; // { key } while there is one, with `stop` while it is not done
let upload = null;
let begunAt = 0;

// Choosing files

for (const drop of document.querySelectorAll(".drop")) {
  const input = byId(drop.dataset.for);
  input.addEventListener("change", showFiles);
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length && !input.disabled) {
      const one = new DataTransfer();
      one.items.add(event.dataTransfer.files[0]);
      input.files = one.files;
      showFiles();
    }
  });
}
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());

function suffixOf(file) {
  const name = file.name.toLowerCase();
  return [...(limits?.suffixes ?? [])].sort((a, b) => b.length - a.length).find((suffix) => name.endsWith(suffix));
}

function complaint(file) {
  if (!limits) return "";
  if (!suffixOf(file)) return `${file.name} is of no kind that the server takes`;
  if (file.size > limits.upload_bytes) return `${file.name} is larger than ${bytes(limits.upload_bytes)}`;
  return "";
}

function showFiles() {
  let hint = "";
  for (const drop of document.querySelectorAll(".drop")) {
    const input = byId(drop.dataset.for);
    const [file] = input.files;
    drop.classList.toggle("chosen", Boolean(file));
    if (file) {
      byId(`${input.id}-name`).textContent = `${file.name}, ${bytes(file.size)}`;
      hint = complaint(file) || hint;
    } else if (input.required) hint = hint || "Choose both volumes first.";
  }
  byId("hint").textContent = hint;
  byId("go").disabled = Boolean(hint) || Boolean(job?.stop);
}

// The work

function say(step, fraction) {
  byId("work").hidden = false;
  const text = step.charAt(0).toUpperCase() + step.slice(1);
  if (byId("step").textContent !== text) byId("step").textContent = text;
  byId("bar").value = fraction;
  byId("elapsed").textContent = `${Math.round((Date.now() - begunAt) / 1000)} s`;
}

function working(is) {
  for (const input of document.querySelectorAll("#form input, #form select")) input.disabled = is;
  byId("cancel").hidden = !is;
  byId("work").hidden = !is;
  byId("hint").hidden = is;
  showFiles();
}

async function send(name, file) {
  const key = newKey();
  const given = await token();
  await new Promise((resolve, reject) => {
    upload = new XMLHttpRequest();
    upload.open("PUT", `/v1/uploads/${key}?suffix=${suffixOf(file)}`);
    upload.setRequestHeader("Authorization", `Bearer ${given}`);
    upload.setRequestHeader("Content-Type", "application/octet-stream");
    upload.upload.onprogress = (event) => say(`send the ${name.replaceAll("_", " ")} volume`, event.loaded / (event.total || 1));
    upload.onload = () => (upload.status < 300 ? resolve() : reject(refusal(upload.status, upload.responseText)));
    upload.onerror = () => reject(new Error("The connection to the server broke."));
    upload.onabort = () => reject(new Error("Cancelled."));
    upload.send(file);
  });
  upload = null;
  return key;
}

function message() {
  const asked = { kind: "register", initial: byId("initial").value, brain: byId("brain").value };
  if (byId("model").value) asked.model = byId("model").value;
  if (byId("refine").value !== "") asked.refine = Number(byId("refine").value);
  return asked;
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// The last event of a job, however often the connection breaks.
async function follow(key, signal) {
  let after = 0;
  for (;;) {
    try {
      const answer = await request(`/v1/jobs/${key}/events?after=${after}`, { signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines.filter((line) => line)) {
          const { number, event } = JSON.parse(line);
          after = number;
          if (event.kind === "progress") say(event.step, event.fraction);
          else if (event.kind === "result" || event.kind === "error") return event;
        }
      }
    } catch (error) {
      if (signal.aborted || error.status) throw error;
      say("the server does not answer; trying again", 0);
    }
    await pause(1);
  }
}

async function carryOut() {
  const asked = message();
  for (const name of ["fixed", "moving", "moving_labels"]) {
    const [file] = byId(name).files;
    if (file) asked[name] = await send(name, file);
  }
  const key = newKey();
  for (;;) {
    try {
      await request(`/v1/jobs/${key}`, {
        method: "PUT",
        headers: { "Content-Type": "application/json", "X-Client": CLIENT },
        body: JSON.stringify(asked),
      });
      break;
    } catch (error) {
      if (error.status !== 429) throw error;
      say("wait for a place in the queue", 0);
      await pause(3);
    }
  }
  sessionStorage.setItem(KEPT, key);
  return key;
}

async function begin(existing) {
  const stop = new AbortController();
  job = { key: existing, stop };
  begunAt = Date.now();
  byId("trouble").textContent = "";
  byId("result").hidden = true;
  working(true);
  try {
    job.key ??= await carryOut();
    const event = await follow(job.key, stop.signal);
    job.stop = null;
    if (event.kind === "result") await show(job.key, event);
    else {
      await forget();
      byId("trouble").textContent = event.sentence;
    }
  } catch (error) {
    if (error.status === 404) sessionStorage.removeItem(KEPT);
    byId("trouble").textContent = stop.signal.aborted ? "Cancelled." : error.message;
  }
  if (job) job.stop = null;
  working(false);
}

async function cancel() {
  upload?.abort();
  const key = job?.key;
  job?.stop?.abort();
  if (key) await forget();
}

async function forget() {
  const key = job?.key;
  sessionStorage.removeItem(KEPT);
  job = null;
  if (key) await request(`/v1/jobs/${key}`, { method: "DELETE" }).catch(() => {});
}

// The result

const NAMES = {
  "transform.h5": "Transform for Slicer, ITK and ANTs",
  "warped.nii.gz": "Moving volume, deformed",
  "jacobian.nii.gz": "Jacobian determinant",
  "labels.nii.gz": "Labels, carried over",
  "report.html": "Report",
  "report.json": "Figures",
  "scene.mrb": "Scene for 3D Slicer",
  "velocity.safetensors": "Velocity, to refine further",
};

async function save(key, name) {
  const content = await (await request(`/v1/jobs/${key}/files/${name}`)).blob();
  const link = element("a", { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function fileButton(key, name) {
  const button = element("button", { type: "button", class: "file" }, element("strong", {}, name), element("span", {}, NAMES[name] ?? ""));
  button.addEventListener("click", () => save(key, name).catch((error) => (byId("trouble").textContent = error.message)));
  return button;
}

async function show(key, event) {
  const report = event.report;
  const [before, after] = [report.similarity_before, report.similarity_after].map((entry) => entry.local_correlation ?? 0);
  byId("verdict").textContent =
    `Local similarity ${before.toFixed(2)} → ${after.toFixed(2)}, ${report.folded_voxels} folded voxels, ` +
    `${report.seconds.total.toFixed(1)} s on ${deviceText(report.device)}.`;
  byId("notes").replaceChildren(...report.notes.map((note) => element("li", {}, note)));
  byId("files").replaceChildren(...Object.keys(event.files).map((name) => fileButton(key, name)));
  byId("kept").textContent = limits ? `Otherwise it goes after ${Math.round(limits.keep_seconds / 60)} min.` : "";
  byId("report").srcdoc = await (await request(`/v1/jobs/${key}/files/report.html`)).text();
  byId("result").hidden = false;
  byId("result-title").focus();
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  forget().then(() => begin(null));
});
byId("cancel").addEventListener("click", cancel);
byId("remove").addEventListener("click", async () => {
  await forget();
  byId("result").hidden = true;
  byId("report").removeAttribute("srcdoc");
  byId("go").focus();
});

const status = await (await request("/v1/status")).json();
limits = status.limits;
const models = status.devices.flatMap((entry) => entry.worker.models ?? []).map((card) => card.name);
byId("model").append(...[...new Set(models)].map((name) => element("option", { value: name }, name)));
showFiles();
if (sessionStorage.getItem(KEPT)) begin(sessionStorage.getItem(KEPT));
