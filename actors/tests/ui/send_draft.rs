use empire_actors::call::{Call, Draft};
use empire_actors::ports::Provider;

async fn skip(provider: &dyn Provider, call: Call<Draft>) {
    provider.send(call).await;
}

fn main() {}
