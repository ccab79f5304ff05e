// The AI SDK over @ai-sdk/openai-compatible or @ai-sdk/anthropic, as PROVIDER says: prints what its calls gave.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";

const { URL_, KEY, MODEL, EMBEDDER, IS_SCRIPTED, PROVIDER, PNG_BASE64 } = process.env;
globalThis.AI_SDK_LOG_WARNINGS = false;
const baseURL = `${URL_}/v1`;
const provider =
  PROVIDER === "anthropic"
    ? createAnthropic({ baseURL, apiKey: KEY })
    : createOpenAICompatible({
        name: "aiservice",
        baseURL,
        apiKey: KEY,
        includeUsage: true,
        supportsStructuredOutputs: true,
      });
const Person = z.object({ name: z.string(), age: z.number().int() });
const weather = tool({
  description: "Tells the weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

async function refusal(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { status: error.statusCode, retryable: error.isRetryable };
  }
}

const asked = { model: provider(MODEL), prompt: "Name a colour.", maxOutputTokens: 12, temperature: 0, maxRetries: 0 };
const plain = await generateText(asked);
const stream = streamText(asked);
let streamed = "";
for await (const text of stream.textStream) streamed += text;
const told = {
  plain: plain.text,
  streamed,
  usage: (await stream.usage).outputTokens === plain.usage.outputTokens,
};
if (PROVIDER !== "anthropic") {
  const { embeddings } = await embedMany({ model: provider.embeddingModel(EMBEDDER), values: ["one", "two"] });
  told.vectors = embeddings.map((row) => row.length);
}

if (IS_SCRIPTED) {
  const ran = await generateText({
    model: provider("tools"),
    prompt: "What is the weather in Rome?",
    tools: { weather },
    stopWhen: isStepCount(3),
    maxRetries: 0,
  });
  told.ran = ran.text;
  const streamedRun = streamText({
    model: provider("tools"),
    prompt: "What is the weather in Rome?",
    tools: { weather },
    maxRetries: 0,
  });
  told.tool = (await streamedRun.toolCalls).map((call) => [call.toolName, call.input]);
  const formed = await generateText({
    model: provider(PROVIDER === "anthropic" ? "tools" : "json"),
    prompt: '"Ann" is 41.',
    output: Output.object({ schema: Person }),
    maxRetries: 0,
  });
  told.parsed = formed.output;
  const content = [
    { type: "text", text: "What is this?" },
    { type: "file", data: Buffer.from(PNG_BASE64, "base64"), mediaType: "image/png" },
  ];
  told.seen = (
    await generateText({ model: provider("see"), messages: [{ role: "user", content }], maxRetries: 0 })
  ).text;
  told.unknownModel = await refusal(() => generateText({ ...asked, model: provider("nowhere") }));
  told.failed = await refusal(() => generateText({ ...asked, model: provider("fail") }));
}
console.log(JSON.stringify(told));
