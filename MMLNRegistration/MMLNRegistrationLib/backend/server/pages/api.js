// The interface, read from its own description.

import { element, request } from "./common.js";

function table(rows) {
  return element("div", { class: "table-scroll" }, element("table", {}, element("tbody", {}, ...rows)));
}

function parameters(operation) {
  const rows = (operation.parameters ?? []).map((parameter) =>
    element("tr", {},
      element("td", {}, element("code", {}, parameter.name)),
      element("td", {}, parameter.in),
      element("td", {}, parameter.required ? "needed" : "optional"),
      element("td", {}, parameter.description ?? parameter.schema.description ?? "")));
  return rows.length ? table(rows) : null;
}

function answers(operation) {
  const rows = Object.entries(operation.responses).sort().map(([status, answer]) =>
    element("tr", {}, element("td", {}, element("code", {}, status)), element("td", {}, answer.description)));
  return table(rows);
}

function fieldTable(schema) {
  const rows = Object.entries(schema.properties).map(([name, field]) => {
    const range = field.minimum === undefined ? "" : `, ${field.minimum} to ${field.maximum}`;
    const kind = field.const ?? (field.enum ? field.enum.join(", ") : field.type + range);
    return element("tr", {},
      element("td", {}, element("code", {}, name)),
      element("td", {}, String(kind)),
      element("td", {}, schema.required.includes(name) ? "needed" : "optional"),
      element("td", {}, field.description ?? ""));
  });
  return element("div", {}, element("h4", {}, schema.title), table(rows));
}

function bodies(operation) {
  const content = operation.requestBody?.content ?? {};
  return (content["application/json"]?.schema.oneOf ?? []).map(fieldTable);
}

function shown(path, method, operation) {
  const text = operation.description ?? operation.summary ?? "";
  return element("details", { class: "operation" },
    element("summary", {}, element("span", { class: `method ${method}` }, method.toUpperCase()), element("code", {}, path),
      element("span", { class: "muted" }, text.split("\n")[0])),
    element("p", {}, text),
    parameters(operation),
    ...bodies(operation),
    element("h4", {}, "Answers"),
    answers(operation));
}

const description = await (await request("/openapi.json")).json();
const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => shown(path, method, operation)));
document.getElementById("operations").replaceChildren(...operations);
document.getElementById("download").addEventListener("click", (event) => {
  event.preventDefault();
  const content = new Blob([JSON.stringify(description, null, 2)], { type: "application/json" });
  element("a", { href: URL.createObjectURL(content), download: "openapi.json" }).click();
});
