// @anthropic-ai/sdk: prints what its calls gave, as one JSON object.
import Anthropic from "@anthropic-ai/sdk";

const { URL_, KEY, MODEL, IS_SCRIPTED, PNG_BASE64 } = process.env;
const client = new Anthropic({ baseURL: URL_, apiKey: KEY, maxRetries: 0 });
const ask = (content) => [{ role: "user", content }];
const schema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ name: "get_weather", input_schema: schema }];

async function refusal(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, type: error.type, requestId: Boolean(error.requestID) };
  }
}

const asked = { model: MODEL, messages: ask("Name a colour."), max_tokens: 12 };
const plain = await client.messages.create({ ...asked, stop_sequences: ["never said"] });
const stream = client.messages.stream({ ...asked, stop_sequences: ["never said"] });
const whole = await stream.finalMessage();
const counted = await client.messages.countTokens({ model: MODEL, messages: ask("one two three") });
const listed = [];
for await (const model of client.models.list()) listed.push(model.id);
const told = {
  plain: plain.content[0].text,
  streamed: whole.content[0].text,
  usage: whole.usage.output_tokens === plain.usage.output_tokens,
  counted: counted.input_tokens,
  listed: listed.includes(MODEL),
  retrieved: (await client.models.retrieve(MODEL)).id,
};

if (IS_SCRIPTED) {
  const called = await client.messages
    .stream({
      model: "tools",
      max_tokens: 100,
      messages: ask("The weather in Rome"),
      tools,
      tool_choice: { type: "any" },
    })
    .finalMessage();
  told.tool = { name: called.content[0].name, input: called.content[0].input, reason: called.stop_reason };
  const formed = await client.messages.create({
    model: "json",
    max_tokens: 100,
    messages: ask('Of "Oslo"'),
    output_config: { format: { type: "json_schema", schema } },
  });
  told.parsed = JSON.parse(formed.content[0].text);
  const seen = await client.messages.create({
    model: "see",
    max_tokens: 20,
    messages: ask([
      { type: "image", source: { type: "base64", media_type: "image/png", data: PNG_BASE64 } },
      { type: "text", text: "What is this?" },
    ]),
  });
  told.seen = seen.content[0].text;
  told.unknownModel = await refusal(() => client.messages.create({ ...asked, model: "nowhere" }));
  told.failed = await refusal(() => client.messages.create({ ...asked, model: "fail" }));
  told.busy = await refusal(() => client.messages.create({ ...asked, model: "busy" }));
  told.broken = await refusal(() => client.messages.stream({ ...asked, model: "fail-mid" }).finalMessage());
  const stranger = new Anthropic({ baseURL: URL_, apiKey: "vpn_nobody", maxRetries: 0 });
  told.unknownKey = await refusal(() => stranger.messages.create(asked));
}
console.log(JSON.stringify(told));
