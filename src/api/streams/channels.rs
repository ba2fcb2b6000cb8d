//! A WebSocket with channels: the first byte of a message is the channel's number (`k8s.io/apimachinery` `wsstream`).

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Input, Outlet, Socket};
use crate::spdy::Reset;

/// v5: the client says that a channel has ended.
const CLOSE: u8 = 255;

/// How many messages may wait for whom they are for: each has 32 KiB, or what the client makes of it.
const WAITING: usize = 16;

/// How long a client may take to notice the end. Closing while it still sends would cut off what it has yet to read.
const LINGER: Duration = Duration::from_secs(2);

type Inputs = HashMap<u8, mpsc::Sender<Result<Bytes, Reset>>>;

/// A connection whose channels are given out.
pub(in crate::api) struct Channels {
    socket: Socket,
    can_close: bool,
    inputs: Inputs,
    queue: mpsc::Sender<Vec<u8>>,
    frames: mpsc::Receiver<Vec<u8>>,
}

/// The sending direction of a channel.
pub(super) struct Channel {
    number: u8,
    queue: mpsc::Sender<Vec<u8>>,
}

impl Outlet for Channel {
    async fn send(&self, bytes: &[u8]) -> bool {
        let mut frame = Vec::with_capacity(bytes.len() + 1);
        frame.push(self.number);
        frame.extend_from_slice(bytes);
        self.queue.send(frame).await.is_ok()
    }

    async fn finish(self) {}
}

impl Channels {
    pub(super) fn new(socket: Socket, can_close: bool) -> Self {
        let (queue, frames) = mpsc::channel(WAITING);
        Self {
            socket,
            can_close,
            inputs: HashMap::new(),
            queue,
            frames,
        }
    }

    /// What comes on a channel. What comes on others is dropped.
    pub(super) fn input(&mut self, channel: u8) -> Input {
        let (sender, input) = mpsc::channel(WAITING);
        self.inputs.insert(channel, sender);
        input
    }

    pub(super) fn outlet(&self, channel: u8) -> Channel {
        Channel {
            number: channel,
            queue: self.queue.clone(),
        }
    }

    /// Carries data until `work`, which has the channels, is done and all that it said was sent, or the client is gone.
    pub(super) async fn carry(self, work: impl Future<Output = ()>) {
        let Self {
            socket,
            can_close,
            inputs,
            queue,
            frames,
        } = self;
        drop(queue);
        let (sink, messages) = socket.split();
        let mut receiving = std::pin::pin!(receive(messages, inputs, can_close));
        tokio::select! {
            ((), ()) = async { tokio::join!(work, send(frames, sink)) } => {
                // Whatever it still sends, nobody reads.
                let _ = timeout(LINGER, receiving).await;
            }
            () = &mut receiving => {}
        }
    }
}

/// Sends what is queued until nobody has more, then closes.
async fn send(mut frames: mpsc::Receiver<Vec<u8>>, mut sink: SplitSink<Socket, Message>) {
    while let Some(frame) = frames.recv().await {
        if sink.send(Message::binary(frame)).await.is_err() {
            return;
        }
    }
    // Go's clients take any other end for a failure. The client may have closed first.
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    let _ = sink.send(Message::Close(Some(normal))).await;
    let _ = sink.close().await;
}

/// Gives channels what comes for them until the client is gone.
async fn receive(mut messages: SplitStream<Socket>, mut inputs: Inputs, can_close: bool) {
    while let Some(Ok(message)) = messages.next().await {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            Message::Close(_) => return,
        };
        if data.is_empty() {
            continue;
        }
        let channel = data.split_to(1)[0];
        if let (CLOSE, true, [ended]) = (channel, can_close, &data[..]) {
            inputs.remove(ended);
        } else if let Some(input) = inputs.get(&channel) {
            // Whoever reads no more gets no more.
            let _ = input.send(Ok(data)).await;
        }
    }
}
