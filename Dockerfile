# The server's image: one static program, nothing else. `docker build -t outrigger .`, for the machine's own architecture.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# glibc goes in, too, so that nothing has to be there.
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --bin outrigger \
      --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp target/*/release/outrigger /outrigger

FROM scratch
COPY --from=build /outrigger /outrigger
USER 65532:65532
ENTRYPOINT ["/outrigger"]
