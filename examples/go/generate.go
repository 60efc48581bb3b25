package main

// The stubs in phalanxv1/: `go generate` makes them with protoc and the two plugins, whose versions
// go.mod pins.
//
//go:generate sh -c "GOBIN=$PWD/bin go install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc"
//go:generate sh -c "PATH=$PWD/bin:$PATH protoc --experimental_allow_proto3_optional -I../../proto --go_out=. --go_opt=module=phalanx.example/stream,Mphalanx/v1/inference.proto=phalanx.example/stream/phalanxv1 --go-grpc_out=. --go-grpc_opt=module=phalanx.example/stream,Mphalanx/v1/inference.proto=phalanx.example/stream/phalanxv1 phalanx/v1/inference.proto"
