"""The official Python client against a broker: makes a topic, produces to it, consumes it plainly and in a group.

    python python.py HOST:PORT STREAM

Prints one line per step, and ends with status 1 at the first that goes wrong.
"""

import asyncio
import os
import sys

from apache_iggy import AutoCommit, IggyClient, PollingStrategy, SendMessage

TOPIC = "orders"
COUNT = 100


async def main(address: str, stream: str) -> None:
    client = IggyClient.from_connection_string(f"iggy://iggy:iggy@{address}")
    await client.connect()
    await client.ping()
    await client.create_stream(stream)
    await client.create_topic(stream=stream, name=TOPIC, partitions_count=1)
    print("ok      a stream and a topic are made")

    topic = await client.get_topic(stream, TOPIC)
    assert topic is not None and topic.partitions_count == 1, topic
    print("ok      the topic is found")

    messages = [SendMessage(f"order {number}") for number in range(COUNT)]
    await client.send_messages(stream=stream, topic=TOPIC, partitioning=0, messages=messages)
    print("ok      messages are produced")

    polled = await client.poll_messages(
        stream=stream, topic=TOPIC, partition_id=0,
        polling_strategy=PollingStrategy.First(), count=COUNT, auto_commit=False,
    )
    payloads = [message.payload().decode() for message in polled]
    assert payloads == [f"order {number}" for number in range(COUNT)], payloads
    assert [message.offset() for message in polled] == list(range(COUNT))
    print("ok      they are polled in order")

    for attempt in range(1, 6):
        try:
            await asyncio.wait_for(consume(address, stream, f"search-{attempt}"), timeout=8)
            break
        except asyncio.TimeoutError:
            # The SDK's consumer may take the client's first "connected" event for a new one, and never poll then.
            print(f"again   the consumer does not poll (attempt {attempt})")
    else:
        raise AssertionError("no consumer polls")
    print("ok      a group consumes them and stores its offset")


async def consume(address: str, stream: str, group: str) -> None:
    reading = IggyClient.from_connection_string(f"iggy://iggy:iggy@{address}")
    await reading.connect()
    consumer = await reading.consumer_group(
        group, stream, TOPIC, partition_id=None, polling_strategy=PollingStrategy.Next(),
        batch_length=10, auto_commit=AutoCommit.Disabled(),
        create_consumer_group_if_not_exists=True, auto_join_consumer_group=True,
    )
    offset = -1
    async for message in consumer.iter_messages():
        offset += 1
        assert message.offset() == offset, (message.offset(), offset)
        await consumer.store_offset(message.offset(), message.partition_id())
        if offset == COUNT - 1:
            break


asyncio.run(asyncio.wait_for(main(*sys.argv[1:3]), timeout=60))
# The client's own threads outlive the interpreter, and one in ten times one of them aborts the process while that ends.
sys.stdout.flush()
os._exit(0)
