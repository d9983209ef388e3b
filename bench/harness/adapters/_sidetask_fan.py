"""Events of sidetask: one log, and a cursor for each subscriber, listener and replay."""

from __future__ import annotations

import asyncio

from sidetask import Runtime
from sidetask.core.events import ContextBuilt, Lagged
from sidetask.core.ids import ConversationId
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.streams import Stream

from ._fan import Generic


class Fanout(Generic):
    async def open(self, n_subs, on_event, delay):
        self.stream = Stream()
        self.publish = self.stream.publish

        async def sub(k, events):
            slow = delay and k == 0
            async for event in events:
                on_event(k, event)
                if slow:
                    await asyncio.sleep(delay)

        subs = [self.stream.subscribe() for _ in range(n_subs)]
        self.tasks = [asyncio.ensure_future(sub(k, each)) for k, each in enumerate(subs)]

    async def close(self):
        self.stream.close()
        await asyncio.gather(*self.tasks)


class Events:
    """`runtime.on`, plain subscriptions beside a slow one, and `runtime.events`."""

    def facts(self, count):
        return [
            ContextBuilt(
                seq=seq, at=0.0, conversation_id=ConversationId("c"), step=1, messages=seq
            )
            for seq in range(1, count + 1)
        ]

    async def listen(self, count, listeners):
        seen = [0]

        async def handle(event):
            seen[0] += 1

        async with Runtime() as runtime:
            for _ in range(listeners):
                runtime.on("any", handle)
            stream = runtime.tasks.subscribe()._stream
            for at, event in enumerate(self.facts(count)):
                stream.publish(event)
                if not at & 63:
                    await asyncio.sleep(0)
        return seen[0]

    async def fan_out(self, count, subscribers, *, slow):
        stream = Stream()
        done = []

        async def read(events, delay):
            async for event in events:
                if isinstance(event, Lagged):
                    continue
                if delay:
                    await asyncio.sleep(delay)
                elif event.seq == count:
                    done.append(event.seq)
                    return

        delays = [0.001 if slow and not at else 0 for at in range(subscribers)]
        tasks = [asyncio.ensure_future(read(stream.subscribe(), delay)) for delay in delays]
        for at, event in enumerate(self.facts(count)):
            stream.publish(event)
            if not at & 63:
                await asyncio.sleep(0)
        await asyncio.wait([task for task, delay in zip(tasks, delays) if not delay])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return len(done)

    async def replayer(self, facts):
        store = MemoryStore(facts=len(facts))
        for fact in facts:
            store.append(fact)
        runtime = Runtime(store=store)

        async def replay():
            count = 0
            async for _ in runtime.events("c", after=0, follow=False):
                count += 1
            return count

        return replay
