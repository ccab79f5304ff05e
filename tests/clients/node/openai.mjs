// openai (npm): prints what its calls gave, as one JSON object.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const { URL_, KEY, MODEL, EMBEDDER, IS_SCRIPTED, PNG_URL } = process.env;
const client = new OpenAI({ baseURL: `${URL_}/v1`, apiKey: KEY, maxRetries: 0 });
const ask = (content) => [{ role: "user", content }];
const Person = z.object({ name: z.string(), age: z.number().int() });
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];

async function refusal(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, requestId: Boolean(error.requestID) };
  }
}

const asked = { model: MODEL, messages: ask("Name a colour."), max_tokens: 12, temperature: 0 };
const plain = await client.chat.completions.create(asked);
let streamed = "";
let usage = null;
for await (const chunk of await client.chat.completions.create({
  ...asked,
  stream: true,
  stream_options: { include_usage: true },
})) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const response = await client.responses.create({ model: MODEL, input: "Name a colour.", max_output_tokens: 16 });
const vectors = await client.embeddings.create({ model: EMBEDDER, input: ["one", "two"] });
const listed = [];
for await (const model of client.models.list()) listed.push(model.id);
const told = {
  plain: plain.choices[0].message.content,
  streamed,
  usage: usage.total_tokens === plain.usage.total_tokens,
  response: response.output_text,
  vectors: vectors.data.map((row) => row.embedding.length),
  listed: listed.includes(MODEL),
  retrieved: (await client.models.retrieve(MODEL)).id,
};

if (IS_SCRIPTED) {
  const runner = client.chat.completions.stream({
    model: "tools",
    messages: ask("The weather in Rome"),
    tools,
    tool_choice: "required",
  });
  const called = await runner.finalChatCompletion();
  told.tool = called.choices[0].message.tool_calls[0].function;
  const parsed = await client.chat.completions.parse({
    model: "json",
    messages: ask('"Ann" is 41.'),
    response_format: zodResponseFormat(Person, "person"),
  });
  told.parsed = parsed.choices[0].message.parsed;
  const seen = await client.chat.completions.create({
    model: "see",
    messages: ask([
      { type: "text", text: "What is this?" },
      { type: "image_url", image_url: { url: PNG_URL } },
    ]),
  });
  told.seen = seen.choices[0].message.content;
  const events = [];
  for await (const event of await client.responses.create({ model: "echo", input: "Hello", stream: true }))
    events.push(event.type);
  told.events = [events[0], events.at(-1)];
  const kept = await client.responses.create({ model: "echo", input: "Hello", store: true });
  told.kept = (await client.responses.retrieve(kept.id)).output_text;
  await client.responses.delete(kept.id);
  told.forgotten = await refusal(() => client.responses.retrieve(kept.id));
  told.unknownModel = await refusal(() => client.chat.completions.create({ ...asked, model: "nowhere" }));
  told.failed = await refusal(() => client.chat.completions.create({ ...asked, model: "fail" }));
  told.broken = await refusal(async () => {
    for await (const _ of await client.chat.completions.create({ ...asked, model: "fail-mid", stream: true }));
  });
  const stranger = new OpenAI({ baseURL: `${URL_}/v1`, apiKey: "vpn_nobody", maxRetries: 0 });
  told.unknownKey = await refusal(() => stranger.models.list());
}
console.log(JSON.stringify(told));
