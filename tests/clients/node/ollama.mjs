// ollama (npm): prints what its calls gave, as one JSON object.
import { Ollama } from "ollama";

const { URL_, KEY, MODEL, EMBEDDER, IS_SCRIPTED, PNG_BASE64 } = process.env;
const client = new Ollama({ host: URL_, headers: { Authorization: `Bearer ${KEY}` } });
const ask = (content) => [{ role: "user", content }];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", description: "Weather", parameters: schema } }];

async function refusal(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { status: error.status_code, message: Boolean(error.message) };
  }
}

const asked = { model: MODEL, messages: ask("Name a colour."), options: { num_predict: 12, temperature: 0 } };
const plain = await client.chat(asked);
let streamed = "";
let last = null;
for await (const part of await client.chat({ ...asked, stream: true })) {
  streamed += part.message.content;
  last = part;
}
const generated = await client.generate({ model: MODEL, prompt: "Hi", options: { num_predict: 6 } });
const vectors = await client.embed({ model: EMBEDDER, input: ["one", "two"] });
const { models } = await client.list();
const told = {
  plain: plain.message.content,
  streamed,
  usage: last.eval_count === plain.eval_count && last.done,
  generated: generated.response,
  vectors: vectors.embeddings.map((row) => row.length),
  listed: models.some((model) => model.name === MODEL),
  capabilities: (await client.show({ model: MODEL })).capabilities,
  running: (await client.ps()).models.some((model) => model.name === MODEL),
};

if (IS_SCRIPTED) {
  const called = await client.chat({ model: "tools", messages: ask("The get_weather of Rome"), tools });
  told.tool = called.message.tool_calls[0].function;
  const formed = await client.chat({ model: "json", messages: ask('Of "Oslo"'), format: schema });
  told.parsed = JSON.parse(formed.message.content);
  const pictured = [{ role: "user", content: "What is this?", images: [PNG_BASE64] }];
  told.seen = (await client.chat({ model: "see", messages: pictured })).message.content;
  told.version = Boolean((await client.version()).version);
  told.unknownModel = await refusal(() => client.chat({ ...asked, model: "nowhere" }));
  told.failed = await refusal(() => client.chat({ ...asked, model: "fail" }));
  told.broken = await refusal(async () => {
    for await (const _ of await client.chat({ ...asked, model: "fail-mid", stream: true }));
  });
  const stranger = new Ollama({ host: URL_, headers: { Authorization: "Bearer vpn_nobody" } });
  told.unknownKey = await refusal(() => stranger.list());
}
console.log(JSON.stringify(told));
