use empire_actors::call::{Call, Cleared};

fn send_twice(call: &Call<Cleared>) -> Call<Cleared> {
    call.clone()
}

fn main() {}
