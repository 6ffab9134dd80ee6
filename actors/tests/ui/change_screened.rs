use empire_actors::call::{Call, Screened};

fn swap_the_prompt(mut call: Call<Screened>) {
    call.request.turns.clear();
}

fn main() {}
