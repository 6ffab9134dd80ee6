use empire_actors::call::{Call, Request, Screened};

fn by_hand(request: Request) -> Call<Screened> {
    Call { request, stage: Screened { cut: Default::default() } }
}

fn main() {}
