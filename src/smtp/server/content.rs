//! DATA and BDAT in the session machine (RFC 5321 §4.1.1.4, RFC 3030 §2): beginning, octets, and the end.

use super::{Closing, Progress, Server, State, Step, Transaction};
use crate::smtp::chunk::{Chunk, ChunkReceiver};
use crate::smtp::data::{ContentFault, DataReceiver};
use crate::smtp::replies;

impl Server {
    /// Octets of content, after [`Step::ReadContent`]; what belongs to the message is appended to `out`.
    ///
    /// Any cutting of the octets gives the same. In every step but [`Step::Keep`] and a [`Step::Say`] between chunks, what was appended
    /// is no message and may be thrown away; after a fault nothing more is appended.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Progress {
        match self.take_state() {
            State::Data(transaction, mut receiver) => {
                let read = receiver.receive(input, out);
                let step = match read.ended {
                    None => {
                        self.state = State::Data(transaction, receiver);
                        None
                    }
                    Some(outcome) => Some(self.message_ended(transaction, outcome, receiver.mended())),
                };
                Progress { consumed: read.consumed, step }
            }
            State::Chunk(transaction, mut receiver) => {
                let read = receiver.receive(input, out);
                let step = match read.ended {
                    None => {
                        self.state = State::Chunk(transaction, receiver);
                        None
                    }
                    Some(outcome) if receiver.is_last() => {
                        Some(self.message_ended(transaction, outcome, receiver.mended()))
                    }
                    Some(_) => Some(self.chunk_ended(transaction, receiver)),
                };
                Progress { consumed: read.consumed, step }
            }
            State::Skipping { left, then_close } => self.skip(input, left, then_close),
            _ => Progress { consumed: 0, step: Some(self.out_of_step()) },
        }
    }

    pub(super) fn data(&mut self) -> Step {
        match self.take_state() {
            State::Open(transaction) if !transaction.recipients.is_empty() => {
                let tolerate = self.settings.tolerate.bare_lf || transaction.mends();
                let limit = self.settings.max_message_size;
                self.state = State::Data(transaction, Box::new(DataReceiver::new(limit, tolerate)));
                Step::ReadContent(Some(replies::send_data()))
            }
            state => self.wrong_place(state),
        }
    }

    /// A chunk that is refused is eaten all the same, since its octets are on the way (RFC 3030 §2). The transaction is over
    /// then: the next chunk alone would be half a message.
    pub(super) fn bdat(&mut self, chunk: Chunk) -> Step {
        let (transaction, mut receiver) = match self.take_state() {
            State::Open(transaction) if !transaction.recipients.is_empty() => {
                let tolerate = self.settings.tolerate.bare_lf || transaction.mends();
                let limit = self.settings.max_message_size;
                (transaction, Box::new(ChunkReceiver::new(limit, tolerate)))
            }
            State::BetweenChunks(transaction, receiver) => (transaction, receiver),
            state => {
                let wrong = self.why_not_here(&state);
                return self.refuse_chunk(chunk, wrong);
            }
        };
        if receiver.size_with(chunk) > self.settings.max_message_size {
            return self.refuse_chunk(chunk, replies::TOO_BIG);
        }
        receiver.begin(chunk);
        self.state = State::Chunk(transaction, receiver);
        if chunk.size > 0 {
            return Step::ReadContent(None);
        }
        // Nothing is written for no octets, see `Content::emit_cr`.
        let Progress { step, .. } = self.receive(&[], &mut Vec::new());
        match step {
            // An empty chunk that ends nothing does nothing.
            Some(Step::Say(reply)) if !chunk.last => self.idle(reply),
            Some(step) => step,
            None => self.out_of_step(),
        }
    }

    /// Refuses at once; the octets are eaten up to twice the limit, and beyond it the session ends.
    fn refuse_chunk(&mut self, chunk: Chunk, why: replies::Fixed) -> Step {
        let most = self.settings.max_message_size.saturating_mul(2);
        match self.complain(why.reply()) {
            Step::Say(reply) if chunk.size > 0 => {
                self.state = State::Skipping { left: chunk.size.min(most), then_close: chunk.size > most };
                Step::ReadContent(Some(reply))
            }
            step => step,
        }
    }

    fn skip(&mut self, input: &[u8], left: u64, then_close: bool) -> Progress {
        let consumed = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - consumed as u64;
        let step = if left > 0 {
            self.state = State::Skipping { left, then_close };
            None
        } else if then_close {
            Some(self.close(replies::HOPELESS_CHUNK, Closing::EndlessContent))
        } else {
            Some(Step::Proceed)
        };
        Progress { consumed, step }
    }

    fn chunk_ended(&mut self, transaction: Box<Transaction>, receiver: Box<ChunkReceiver>) -> Step {
        let reply = replies::chunk_taken(receiver.chunk_size());
        self.state = State::BetweenChunks(transaction, receiver);
        Step::Say(reply)
    }

    fn message_ended(
        &mut self,
        transaction: Box<Transaction>,
        outcome: Result<(), ContentFault>,
        mended: bool,
    ) -> Step {
        self.leniences.bare_lf = self.leniences.bare_lf.saturating_add(u32::from(mended));
        let refusal = match outcome {
            Ok(()) => {
                self.state = State::Keeping;
                return Step::Keep(transaction);
            }
            Err(ContentFault::BareLineEnd) => replies::BARE_LINE_ENDS,
            Err(ContentFault::TooBig) => replies::TOO_BIG,
            Err(ContentFault::Endless) => {
                return self.close(replies::ENDLESS_CONTENT, Closing::EndlessContent);
            }
        };
        // Counted, but said whatever the count is: a 421 in its place would ask for a repetition.
        self.errors = self.errors.saturating_add(1);
        Step::Say(refusal.reply())
    }
}
