// Starts aimock on a free port of the loopback, prints its address, and ends with its input.
import { LLMock } from "@copilotkit/aimock";

const mock = await LLMock.create({ port: 0, host: "127.0.0.1", logLevel: "silent" });
console.log(mock.url);
process.stdin.on("end", () => process.exit(0)).resume();
