use empire_actors::call::{Call, Funded};
use empire_actors::ports::Provider;

async fn skip(provider: &dyn Provider, call: Call<Funded>) {
    provider.send(call).await;
}

fn main() {}
