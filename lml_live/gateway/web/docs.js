// Draws the interface from the two documents that the server makes of its own types. Text is only ever set as text.

const METHODS = ["get", "post", "put", "patch", "delete"];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Text with `code` in backticks.
function prose(text) {
  return String(text ?? "").split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part));
}

function nameOf(reference) {
  return reference.split("/").at(-1);
}

function schemaLink(schema) {
  const name = nameOf(schema.$ref);
  return make("a", { href: `#type-${name}` }, name);
}

// A schema in a line: links to named types, words for the rest.
function describe(schema) {
  if (!schema || Object.keys(schema).length === 0) return ["anything"];
  if (schema.$ref) return [schemaLink(schema)];
  if (schema.allOf) return schema.allOf.flatMap(describe);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.flatMap((choice, at) => (at ? [" or ", ...describe(choice)] : describe(choice)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(", ")];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.type === "array") {
    if (schema.prefixItems) {
      return ["[", ...schema.prefixItems.flatMap((item, at) => (at ? [", ", ...describe(item)] : describe(item))), "]"];
    }
    return ["list of ", ...describe(schema.items)];
  }
  if (schema.type === "object" && schema.additionalProperties) {
    return ["map of ", ...describe(schema.additionalProperties)];
  }
  return [schema.format ? `${schema.type} (${schema.format})` : String(schema.type ?? "anything")];
}

function rules(schema) {
  const words = [];
  if (schema.minimum !== undefined) words.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) words.push(`to ${schema.maximum}`);
  if (schema.exclusiveMaximum !== undefined) words.push(`below ${schema.exclusiveMaximum}`);
  if (schema.minLength) words.push(`at least ${schema.minLength} characters`);
  if (schema.maxLength !== undefined) words.push(`at most ${schema.maxLength} characters`);
  if (schema.minItems) words.push(`at least ${schema.minItems}`);
  if (schema.maxItems !== undefined) words.push(`at most ${schema.maxItems}`);
  if (schema.default !== undefined && schema.default !== null) words.push(`default ${JSON.stringify(schema.default)}`);
  const parts = schema.description ? [...prose(schema.description), " "] : [];
  parts.push(words.join(", "));
  if (schema.pattern) parts.push(" ", make("code", {}, schema.pattern));
  return parts;
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function row(...cells) {
  return make("tr", {}, ...cells.map((cell) => make("td", {}, ...cell)));
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) =>
    row([make("code", {}, required.has(name) ? name : `${name}?`)], describe(field), rules(field)));
  return rows.length ? table(["field", "type", "rules"], rows) : make("p", {}, ...describe(schema));
}

function typeSection(name, schema) {
  return make("section", { id: `type-${name}` }, make("h3", {}, name),
    make("p", {}, ...prose(schema.description)), fields(schema));
}

function callSection(method, path, call) {
  const parts = [
    make("h3", {}, make("span", { class: "method" }, method.toUpperCase()), make("code", {}, path),
      make("span", { class: "who" }, call.tags[0])),
    make("p", {}, ...prose(call.summary)),
  ];
  const parameters = (call.parameters ?? []).map((parameter) =>
    row([make("code", {}, parameter.required ? parameter.name : `${parameter.name}?`)], [parameter.in],
      [...prose(parameter.description), " ", ...rules(parameter.schema)]));
  if (parameters.length) parts.push(table(["parameter", "in", "rules"], parameters));
  const body = call.requestBody?.content["application/json"].schema;
  if (body) parts.push(make("p", {}, "Body: ", ...describe(body)));
  const answers = Object.entries(call.responses).map(([status, answer]) => {
    const content = Object.values(answer.content ?? {})[0];
    return row([status], prose(answer.description), content ? describe(content.schema) : ["no body"]);
  });
  parts.push(table(["status", "means", "body"], answers));
  return make("section", { id: `call-${call.operationId}` }, ...parts);
}

function messageSection(name, message, schema) {
  return make("section", { id: `message-${name}` }, make("h3", {}, make("code", {}, name)),
    make("p", {}, ...prose(message.summary)), fields(schema));
}

function problemRows(openapi) {
  const codes = new Map();
  for (const calls of Object.values(openapi.paths)) {
    for (const call of Object.values(calls)) {
      for (const [status, answer] of Object.entries(call.responses)) {
        const problem = answer.content?.["application/problem+json"];
        for (const code of problem?.schema.properties.code.enum ?? []) codes.set(code, status);
      }
    }
  }
  return [...codes].sort().map(([code, status]) => {
    const found = row([make("code", {}, code)], [status]);
    found.id = `problem-${code}`;
    return found;
  });
}

function draw(openapi, asyncapi) {
  const contents = make("ul");
  const list = (id, text) => contents.append(make("li", {}, make("a", { href: `#${id}` }, text)));
  const parts = [make("h2", {}, "Calls"), make("p", {}, ...prose(openapi.info.description))];
  for (const [path, calls] of Object.entries(openapi.paths)) {
    for (const method of METHODS.filter((name) => calls[name])) {
      parts.push(callSection(method, path, calls[method]));
      list(`call-${calls[method].operationId}`, `${method.toUpperCase()} ${path}`);
    }
  }
  parts.push(make("h2", { id: "problems" }, "Error codes"), table(["code", "status"], problemRows(openapi)));
  list("problems", "Error codes");
  parts.push(make("h2", { id: "socket" }, "The live socket"),
    make("p", {}, make("code", {}, asyncapi.channels.live.address)), make("p", {}, ...prose(asyncapi.info.description)));
  list("socket", "The live socket");
  for (const operation of Object.values(asyncapi.operations)) {
    parts.push(make("h2", {}, operation.summary));
    for (const reference of operation.messages) {
      const name = nameOf(reference.$ref);
      const message = asyncapi.components.messages[name];
      parts.push(messageSection(name, message, asyncapi.components.schemas[nameOf(message.payload.$ref)]));
      list(`message-${name}`, `socket: ${name}`);
    }
  }
  parts.push(make("h2", { id: "types" }, "Types"));
  list("types", "Types");
  const messages = new Set(Object.values(asyncapi.components.messages).map((message) => nameOf(message.payload.$ref)));
  const types = { ...asyncapi.components.schemas, ...openapi.components.schemas };
  for (const name of Object.keys(types).sort()) {
    if (!messages.has(name) || openapi.components.schemas[name]) parts.push(typeSection(name, types[name]));
  }
  document.getElementById("contents").replaceChildren(contents);
  const main = document.getElementById("document");
  main.replaceChildren(...parts);
  main.removeAttribute("aria-busy");
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

async function load(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} answers ${answer.status}`);
  return answer.json();
}

try {
  draw(await load("/openapi.json"), await load("/asyncapi.json"));
} catch (error) {
  document.getElementById("document").replaceChildren(make("p", { role: "alert" }, `The page cannot be drawn: ${error.message}`));
}
